"""The scripted campaign: each reply does to the template what it is there for."""

import json
import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from agent.dialogue.reply import parse_reply
from agent.edit import apply_reply
from agent.gates.canonical import code_key
from agent.idea import list_ideas, load_idea
from tests.templates.test_experiment import TEMPLATE, FakeRun, config, load_module

ROOT = TEMPLATE.parents[1]
SCRIPT = ROOT / "ideas" / "hierarchical_orthogonal_sae.script.jsonl"
REPLIES = [json.loads(line)["reply"] for line in SCRIPT.read_text().splitlines()]
METRIC = re.compile(r"\{(run_(\d+)|topk|relu):([a-z_]+)\.(\w+)\}")


def train_a_little(experiment: ModuleType) -> dict[str, float]:
    cfg = config(experiment, d_sae=48, k=4)
    run = FakeRun(16, 12, 64)
    experiment.train(run, cfg)
    return run.logged[-1]


def test_each_reply_does_its_part(tmp_path: Path) -> None:
    for name in ("experiment.py", "plot.py"):
        shutil.copy(TEMPLATE / name, tmp_path)
    codes, outcomes, pending = [code_key((tmp_path / "experiment.py").read_text())], [], []
    completed = False
    for reply in REPLIES:
        parts = parse_reply(reply)
        if parts.completed:
            outcomes.append("completed")
            completed = True
            continue
        files = ["plot.py"] if completed else ["experiment.py"]
        outcome = apply_reply(parts.edits, tmp_path, files, pending=pending)
        pending = outcome.pending if not outcome.applied else []
        if not outcome.applied:
            assert outcome.failure == "format"
            outcomes.append("refused")
            continue
        assert outcome.changed == files
        if completed:
            outcomes.append("plots")
            continue
        codes.append(code_key((tmp_path / "experiment.py").read_text()))
        try:
            last = train_a_little(load_module(tmp_path / "experiment.py"))
        except (AttributeError, RuntimeError, TypeError) as error:
            outcomes.append(type(error).__name__)
        else:
            assert last["competition"] > 0
            outcomes.append("ran")
    assert len(set(codes)) == len(codes), "two runs have the same code"
    assert outcomes.count("ran") >= 5
    assert outcomes[0] == "refused"
    assert outcomes[1] == "ran"
    assert sum(outcome.endswith("Error") for outcome in outcomes) == 1
    assert outcomes[-2:] == ["completed", "plots"]
    load_module(tmp_path / "plot.py")


def test_it_refers_only_to_runs_that_are_scored_by_then() -> None:
    """The reply for run n+1 speaks of the runs up to n."""
    done = 0
    for reply in REPLIES:
        parts = parse_reply(reply)
        for found in METRIC.finditer(f"{parts.analysis}\n{parts.prediction}"):
            assert found[2] is None or int(found[2]) <= done, found[0]
        if "The field is called" not in reply and "only that block" not in reply and parts.change:
            done += 1


def test_it_types_no_measured_number() -> None:
    for reply in REPLIES:
        parts = parse_reply(reply)
        text = re.sub(r"\{[^}]*\}", "", parts.analysis)
        assert not re.search(r"\d\.\d|\d\s?%", text), text


@pytest.mark.parametrize("name", list_ideas())
def test_the_ideas_are_sound(name: str) -> None:
    idea = load_idea(name)
    assert len(idea.Technical_Details) > 200
    assert "1." in idea.Implementation_Plan
