"""A campaign whose edits are made by the real aider, under the loop's own gate."""

import json

import pytest

from agent.base.errors import AgentError
from agent.campaign.history import read_state
from agent.campaign.ledger import Ledger
from agent.edit.aider.editor import find_aider
from tests.agent.campaigns import IDEA, QUICK, ROOT, launch


@pytest.fixture
def script(tmp_path):
    """The scripted campaign's first run, without its slip, then the end."""
    lines = (ROOT / "ideas" / f"{IDEA}.script.jsonl").read_text().splitlines()
    replies = [json.loads(line)["reply"] for line in lines]
    replies = [replies[0].replace("step.error.pow(2).mean()", "step.error.square().mean()"), "ALL_COMPLETED", "Done."]
    path = tmp_path / "script.jsonl"
    path.write_text("".join(json.dumps({"reply": reply}) + "\n" for reply in replies))
    return path


def test_a_run_edited_by_aider_is_scored(prepared, script, tmp_path):
    try:
        find_aider()
    except AgentError as error:
        pytest.skip(str(error))
    runs = tmp_path / "runs"
    arguments = ["--idea", IDEA, "--model", f"replay:{script}", "--editor", "aider", "--profile", QUICK, "--runs", runs]
    done = launch(*arguments, "--quiet")
    assert done.returncode == 0, done.stderr
    folder = next(runs.iterdir())
    state = read_state(Ledger(folder / "ledger.jsonl").events)
    assert [run.status for run in state.runs] == ["scored"]
    assert "def competition(self, step: Step)" in (folder / "experiment.py").read_text()
    assert state.runs[0].last.change.startswith("Directional competition")
