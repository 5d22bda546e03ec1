"""Autointerp with the real small model and a judge behind a real server on loopback."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import anthropic
import openai
import pytest

from lab import evaluate
from lab.artifact import Artifact
from lab.errors import LabError
from lab.evals import autointerp
from lab.evals.autointerp import Settings, Setup, parse_numbers
from lab.evals.base import Context
from lab.judge import AnthropicJudge, Judge, OpenAIJudge, Price, make_judge
from lab.settings import Profile
from lab.subject import Subject
from tests.lab.conftest import SaveSae, identity
from tests.servers.model_server import Call, ModelServer, fault

QUICK = Settings(n_latents=3, total_tokens=64 * 40, threads=2, buffer=5)


def reply(call: Call) -> str:
    """Explains by the number of marks, and names as firing every piece with a digit in it."""
    if "numbers separated by commas" not in call.system:
        return f"This neuron activates on {call.prompt.count('<<')} marks."
    lines = [line for line in call.prompt.splitlines() if re.match(r"\d+\. ", line)]
    return ", ".join(line.split(".")[0] for line in lines if re.search(r"\d", line.split(". ", 1)[1])) or "None"


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer(reply) as running:
        yield running


@pytest.fixture
def sae(tmp_path: Path, save_sae: SaveSae) -> Artifact:
    return save_sae(tmp_path, identity(576))


@pytest.fixture(scope="module")
def setup(tiny_context: Context) -> Setup:
    return autointerp.prepare(tiny_context, QUICK)


MakeContext = Callable[[Judge | None], tuple[Context, list[str]]]


@pytest.fixture
def with_judge(tiny_profile: Profile, tiny_subject: Subject) -> MakeContext:
    def making(judge: Judge | None) -> tuple[Context, list[str]]:
        said: list[str] = []
        ctx = Context(tiny_profile, "cpu", judge, said.append)
        ctx.__dict__["subject"] = tiny_subject
        return ctx, said

    return making


def openai_judge(server: ModelServer, price: Price | None = None) -> OpenAIJudge:
    client = openai.OpenAI(api_key="test-key", base_url=server.openai_url, max_retries=0)
    return OpenAIJudge(client, "small", price)


def test_latents_are_explained_and_scored_by_what_the_judge_says(
    setup: Setup, server: ModelServer, sae: Artifact, with_judge: MakeContext, empty_cache: Path
) -> None:
    ctx, said = with_judge(openai_judge(server, Price(1.0, 2.0)))
    scores = autointerp.score(ctx, setup, sae, QUICK)
    rows = scores.details["latents"]
    assert len(rows) == 3
    assert len(server.calls) == 6
    assert re.fullmatch(
        r"autointerp: 6 calls of openai:small@http://127.*, about .* to read, 189 to write, \$0\.\d\d", said[0]
    )

    explained = [call for call in server.calls if "numbers separated by commas" not in call.system]
    judged = [call for call in server.calls if call not in explained]
    for row in rows:
        by_marks = [call for call in explained if f"{call.prompt.count('<<')} marks" == row["explanation"]]
        assert by_marks
        assert len(re.findall(r"^\d+\. ", by_marks[0].prompt, re.MULTILINE)) == 15
        own = [call for call in judged if call.prompt.startswith(f"The neuron activates on {row['explanation']}.")]
        assert any(reply(call) == (", ".join(map(str, row["predicted"])) or "None") for call in own)
        assert all("<<" not in call.prompt for call in own)
        assert len(row["right"]) == 4
        agree = [(number in row["predicted"]) == (number in row["right"]) for number in range(1, 15)]
        assert row["score"] == sum(agree) / 14
    values = [row["score"] for row in rows]
    middle = sum(values) / 3
    assert scores.metrics["autointerp_score"] == pytest.approx(middle)
    spread = (sum((value - middle) ** 2 for value in values) / 2) ** 0.5
    assert scores.metrics["autointerp_std_dev"] == pytest.approx(spread)

    assert autointerp.score(ctx, setup, sae, QUICK) == scores
    assert len(server.calls) == 6, "answers that are there are not paid for twice"


def test_an_answer_that_cannot_be_read_drops_its_latent(
    setup: Setup, sae: Artifact, with_judge: MakeContext, empty_cache: Path
) -> None:
    with ModelServer(["I would say the first one"]) as server:
        ctx, _ = with_judge(openai_judge(server))
        scores = autointerp.score(ctx, setup, sae, QUICK)
    assert scores.metrics == {}
    assert scores.details["answers_not_read"] == 3
    assert set(scores.details["undefined"]) == set(autointerp.METRICS)


def test_a_judge_that_fails_is_one_line_and_what_it_said_is_kept(
    setup: Setup, sae: Artifact, with_judge: MakeContext, empty_cache: Path
) -> None:
    settings = Settings(n_latents=2, total_tokens=64 * 40, threads=1, buffer=5)
    with ModelServer(reply, faults=[None, fault("500")]) as server:
        ctx, _ = with_judge(openai_judge(server))
        with pytest.raises(LabError, match=r"did not answer \(it answered 500\): answers so far are kept") as caught:
            autointerp.score(ctx, setup, sae, settings)
        assert "test-key" not in str(caught.value)
        autointerp.score(ctx, setup, sae, settings)
        assert len(server.calls) == 5, "four answers and the failure"


def test_an_sae_without_live_latents_is_scored_by_no_call(
    setup: Setup, server: ModelServer, with_judge: MakeContext, tmp_path: Path, save_sae: SaveSae
) -> None:
    ctx, _ = with_judge(openai_judge(server))
    scores = autointerp.score(ctx, setup, save_sae(tmp_path, "silent"), QUICK)
    assert scores.metrics == {}
    assert not server.calls


def test_anthropics_client_asks_the_same(server: ModelServer, empty_cache: Path) -> None:
    judge = AnthropicJudge(anthropic.Anthropic(api_key="test-key", base_url=server.url, max_retries=0), "claude")
    assert judge.name == "anthropic:claude"
    assert judge.ask("explain", "<<one>> and <<two>>", 30) == "This neuron activates on 2 marks."
    assert server.calls[0].system == "explain"
    assert server.calls[0].body["max_tokens"] == 30


def test_a_judge_is_named_on_the_command_line(monkeypatch: pytest.MonkeyPatch, server: ModelServer) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "own-key-1234")
    monkeypatch.delenv("OPENAI_COMPATIBLE_API_KEY", raising=False)
    judge = make_judge(f"openai:small@{server.openai_url}", "0.15/0.6")
    assert judge.price == Price(0.15, 0.6)
    judge.ask("explain", "x", 5)
    assert server.calls[0].key == "none", "a foreign server never gets OpenAI's key"
    assert make_judge("openai:gpt-4o-mini").name == "openai:gpt-4o-mini"


@pytest.mark.parametrize(
    ("spec", "price", "message"),
    [
        ("gpt-4o-mini", "", "names no judge: write openai:NAME"),
        ("openai:", "", "names no judge"),
        ("anthropic:claude", "", "set ANTHROPIC_API_KEY"),
        ("openai:m@localhost:1/v1", "", "must begin with http"),
        ("openai:m@http://localhost:1/v1", "cheap", "write it as 0.15/0.60"),
    ],
)
def test_bad_names_of_judges(monkeypatch: pytest.MonkeyPatch, spec: str, price: str, message: str) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with pytest.raises(LabError, match=message):
        make_judge(spec, price)


def test_without_a_judge_it_is_refused_by_name_and_left_out_of_all(tmp_path: Path, sae: Artifact) -> None:
    said: list[str] = []
    with pytest.raises(LabError, match="name one by --autointerp-model"):
        evaluate.evaluate([tmp_path], "smollm2", ["core", "autointerp"], "cpu")
    names = evaluate._answerable(["all"], None, said.append)
    assert "autointerp" not in names
    assert "core" in names
    assert said == ["left out of all: autointerp, which asks a language model (--autointerp-model names one)"]


@pytest.mark.parametrize(
    ("answer", "numbers"),
    [
        ("1, 4, 9", [1, 4, 9]),
        (" 2 and 3. ", [2, 3]),
        ("None", []),
        ("None.", []),
        ("", []),
        ("the first", None),
        ("1; 2", None),
        ("-1", None),
    ],
)
def test_answers_are_read_as_numbers(answer: str, numbers: list[int] | None) -> None:
    assert parse_numbers(answer) == numbers


def test_a_window_wider_than_a_text_is_an_error(with_judge: MakeContext) -> None:
    ctx, _ = with_judge(None)
    with pytest.raises(LabError, match="a text has 64"):
        autointerp.prepare(ctx, Settings(buffer=32))
