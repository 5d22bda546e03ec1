"""Providers, architectures and evaluations that are added: each is a file, and a line in a table."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent import models
from agent.audit import audit, make_document
from agent.audit.load import load_evidence
from agent.base.errors import AgentError
from agent.models import Request, choose, make_model
from agent.results.compare import compare
from agent.results.read import Group, load_result
from bench.writeup.cases import unpack
from lab import architectures, artifact, baselines, evals, evaluate, export
from lab.activations import ActivationStore
from lab.baselines import baseline
from lab.evals.base import Context
from lab.sae_lens_format import from_sae_lens
from lab.settings import load_profile
from tests.servers.model_server import ModelServer

Add = Callable[[dict[str, str], str, str], None]

PROVIDER = '''
"""Parrots, asked with nothing but the standard library."""

import json
import urllib.request

from agent.models.base import Reply
from agent.models.prices import Price, Usage
from agent.models.provider import Provider, read_key

PRICE = Price(1.0, 2.0, 0.0, 0.0)


class Parrot:
    price_known = True

    def __init__(self, name, key, url):
        self.name, self._key, self._url = f"parrot:{name}", key, url

    def ask(self, request):
        messages = [{"role": "user", "content": request.prompt}]
        body = json.dumps({"model": self.name, "messages": messages}).encode()
        headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
        called = urllib.request.Request(f"{self._url}/chat/completions", body, headers)
        with urllib.request.urlopen(called) as answer:
            found = json.load(answer)
        usage = Usage(found["usage"]["prompt_tokens"], tokens_out=found["usage"]["completion_tokens"])
        text = found["choices"][0]["message"]["content"]
        return Reply(text, usage.tokens_in, usage.tokens_out, dollars=PRICE.dollars(usage), model=self.name)


PROVIDER = Provider(
    "https://parrots.example/v1",
    "PARROT_API_KEY",
    default_name="grey",
    library="urllib.request",
    make=lambda name, url, environ, settings: Parrot(
        name, read_key(environ, "PARROT_API_KEY"), url or environ["PARROT_URL"]
    ),
    other_key_name="AVIARY_API_KEY",
)
'''

ARCHITECTURE = '''
"""LatentK: in training each latent keeps its largest pre-activations of the batch, then those above its threshold."""

import torch

from lab.architectures.base import Architecture
from lab.architectures.jumprelu import JumpReLU
from lab.recipes import Latents, Recipe


class LatentKRecipe(Recipe):
    def _edges(self, pre):
        return pre.topk(max(1, round(self.l0 * len(pre) / pre.shape[1])), dim=0).values[-1]

    def activate(self, x):
        pre = self.pre_activations(x)
        return Latents.of(pre.relu() * (pre >= self._edges(pre.detach())), None, pre)

    @torch.no_grad()
    def finish(self, acts):
        self.sae.threshold.copy_(self._edges(self.sae.pre_activations(acts)).clamp(min=0))


ARCHITECTURE = Architecture(JumpReLU, LatentKRecipe, sae_lens="jumprelu", trained_as="latentk")
'''

EVALUATION = '''
"""The nearness of the rows of an SAE's decoder to each other."""

from dataclasses import dataclass

from lab.evals.base import Scores
from lab.evals.metric import Metric

METRICS = {"mean_cosine": Metric("lower", "", "", headline=True, names=("crowding of directions",))}


@dataclass(frozen=True)
class Settings:
    power: float = 1.0


@dataclass(frozen=True)
class Setup:
    d_model: int | None = None


def data(ctx, settings):
    return "decoder"


def prepare(ctx, settings):
    return Setup()


def score(ctx, setup, sae, settings):
    cosines = (sae.W_dec @ sae.W_dec.T).abs() ** settings.power
    rows = len(cosines)
    return Scores({"mean_cosine": float((cosines.sum() - rows) / (rows * (rows - 1)))}, {})
'''


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Add]:
    """Write a module and put a line into a table; both are gone after the test."""
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    (tmp_path / "modules").mkdir()
    added: list[str] = []

    def adding(table: dict[str, str], name: str, source: str) -> None:
        path = tmp_path / "modules" / f"added_{name}.py"
        path.write_text(source)
        importlib.invalidate_caches()
        monkeypatch.setitem(table, name, path.stem)
        added.append(path.stem)

    yield adding
    for module in added:
        sys.modules.pop(module, None)


def test_a_provider_answers_is_chosen_and_is_named(add: Add, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    add(models.TABLE, "parrot", PROVIDER)
    transcript = tmp_path / "transcript.jsonl"
    with ModelServer(["Polly"], key="k" * 20) as server:
        environ = {"PARROT_API_KEY": "k" * 20, "PARROT_URL": server.openai_url}
        model = make_model("auto", environ=environ, transcript=transcript)
        reply = model.ask(Request("", "who are you?"))
    assert (model.name, reply.text) == ("parrot:grey", "Polly")
    assert reply.dollars == pytest.approx((reply.tokens_in + 2 * reply.tokens_out) / 1e6)
    (line,) = map(json.loads, transcript.read_text().splitlines())
    assert (line["model"], line["reply"], line["dollars"]) == ("parrot:grey", "Polly", reply.dollars)
    aside = choose("parrot:red@http://localhost:1/v1", environ={})
    assert (aside.name, aside.base_url) == ("red", "http://localhost:1/v1")
    with pytest.raises(AgentError, match="needs a key: set PARROT_API_KEY"):
        choose("parrot:red", environ={})
    with pytest.raises(AgentError, match=r"should be plain, .* AVIARY_API_KEY"):
        choose("parrot:red@http://user:word@host/v1", environ={})
    with pytest.raises(AgentError, match=r"anthropic:NAME, openai:NAME, parrot:NAME, .*parrot:NAME@BASE_URL, replay"):
        choose("cockatoo:red", environ={})


@pytest.fixture(scope="module")
def short(tiny_profile_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests' profile with a sixth of its steps."""
    path = tmp_path_factory.mktemp("profile") / "short.toml"
    path.write_text(tiny_profile_path.read_text().replace("tokens = 30_720", "tokens = 5_120"))
    return path


@pytest.fixture(scope="module")
def topk(short: Path, tiny_store: ActivationStore) -> Path:
    """A TopK, trained before anything is added."""
    return baseline(load_profile(str(short)), "topk", 12, 0, "cpu")


def test_an_architecture_is_trained_saved_published_and_compared(
    add: Add, short: Path, topk: Path, tmp_path: Path
) -> None:
    add(architectures.TABLE, "latentk", ARCHITECTURE)
    run = tmp_path / "latentk_seed0"
    arguments = ["--architecture", "latentk", "--l0", "12", "--profile", str(short), "--device", "cpu"]
    assert baselines.main([*arguments, "--out_dir", str(run)]) == 0
    profile = load_profile(str(short))
    assert baseline(profile, "topk", 12, 0, "cpu") == topk, "another architecture changes nothing for those there are"
    assert artifact.load(run / "sae").architecture == "latentk"
    assert export.main([str(run), str(tmp_path / "published")]) == 0
    settings = json.loads((tmp_path / "published" / "cfg.json").read_text())
    assert (settings["architecture"], settings["metadata"]["training_architecture"]) == ("jumprelu", "latentk")
    assert from_sae_lens(tmp_path / "published").architecture == "latentk"
    beside = tmp_path / "topk_seed0"
    shutil.copytree(topk, beside)
    evaluate.evaluate([run, beside], profile, ["core"], "cpu")
    comparison = compare(load_result(run), Group("topk", (load_result(beside),)))
    row = comparison.row("core.explained_variance")
    assert row is not None
    assert 0.1 < row.value.value < 1
    assert (comparison.run.architecture, comparison.baseline.architecture) == ("latentk", "topk")


def test_an_evaluation_is_scored_and_its_names_are_heard(
    add: Add, short: Path, topk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = load_profile(str(short))
    core, ctx = evals.load("core"), Context(profile, "cpu")
    before = ctx.key("core", core, core.Settings())
    add(evals.TABLE, "crowding", EVALUATION)
    assert ctx.key("core", core, core.Settings()) == before, "another evaluation makes no score anew"
    scored = tmp_path / "scored"
    shutil.copytree(topk, scored)
    wanted = {"default_evals": ("crowding",), "evals": {"crowding": {"power": 2.0}}}
    (found,) = evaluate.evaluate([scored], profile.model_copy(update=wanted), None, "cpu")
    metric = found["entries"]["crowding"]["metrics"]["mean_cosine"]
    assert 0 < metric["value"] < 0.5
    monkeypatch.delitem(evals.TABLE, "crowding")  # whoever reads the results need not have it
    campaign = unpack(tmp_path / "campaign")
    for path in campaign.glob("run_*/**/results.json"):
        results = json.loads(path.read_text())
        value = 0.1 if "seed" in path.parent.name else 0.4
        results["entries"]["crowding"] = {
            **results["entries"]["core"],
            "metrics": {"mean_cosine": {**metric, "value": value}},
        }
        path.write_text(json.dumps(results))
    document = make_document("run_1 reduces the crowding of directions.\n", "md", campaign / "notes.md")
    (item,) = audit(document, load_evidence(campaign), {}, whole=False).claims
    assert "crowding.mean_cosine beside topk is" in item.reason
