"""Prompts are built afresh and stay small: the tenth turn costs what the first did."""

import shutil
from pathlib import Path

import pytest

from agent.base.screen import Screen
from agent.campaign.campaign import Campaign
from agent.campaign.events import Failed
from agent.campaign.history import read_state
from agent.campaign.state import Run
from agent.campaign.workspace import Workspace
from agent.compute.executor import make_executor
from agent.dialogue.prompt import plot_prompt, turn_prompt

SMALL = 8000


@pytest.fixture(scope="module")
def ten(campaign, tmp_path_factory):
    """The scripted campaign's folder, gone on with to nine scored runs by repeating its runs' results."""
    folder = tmp_path_factory.mktemp("ten") / "ws"
    shutil.copytree(campaign[0], folder)
    events = Workspace(folder).ledger.events
    (folder / "ledger.jsonl").unlink()
    (folder / "ledger.jsonl").touch()
    workspace = Workspace(folder)
    about = [
        event
        for event in events
        if event.kind in ("edited", "smoked", "smoke_failed", "ran", "failed", "scored", "refused")
    ]
    for event in events:
        if event.kind in ("started", "baselines"):
            workspace.ledger.append(event)
    for shift in (0, 5):
        for event in about:
            number = event.run
            if number is None or number + shift > 9:
                continue
            workspace.ledger.append(event.model_copy(update={"run": number + shift}))
            if shift and event.kind == "scored":
                shutil.copytree(folder / f"run_{number}", folder / f"run_{number + shift}")
    return Campaign(workspace, Screen("quiet"), Path(folder), make_executor("local"))


def size(tokenizer, parts):
    return sum(len(tokenizer(part)["input_ids"]) for part in parts)


def test_the_tenth_turn_costs_what_the_first_did(ten, tiny_subject):
    state = read_state(ten.workspace.ledger.events)
    assert [run.status for run in state.runs] == ["scored"] * 9
    edited = ten.workspace.read("experiment.py")
    (ten.workspace.path / "experiment.py").write_text(ten.workspace.at(state.template, "experiment.py"))
    first = size(tiny_subject.tokenizer, turn_prompt(ten, Run(1)))
    (ten.workspace.path / "experiment.py").write_text(edited)
    tenth = size(tiny_subject.tokenizer, turn_prompt(ten, Run(10)))
    assert first <= SMALL
    assert tenth <= SMALL
    assert tenth <= 1.2 * first, (first, tenth)
    assert size(tiny_subject.tokenizer, plot_prompt(ten)) <= SMALL


def test_the_tenth_turn_shows_every_run_and_the_last_in_full(ten):
    system, prompt = turn_prompt(ten, Run(10))
    for number in range(1, 10):
        assert f"| run_{number} |" in prompt
    assert "| topk |" in prompt
    assert "run_9:" in prompt
    assert "Predicted core.explained_variance" in prompt
    assert "ALL_COMPLETED" in system
    assert "Make run 10 of 10" in prompt


def test_the_fixed_part_is_the_same_in_every_turn(ten):
    assert turn_prompt(ten, Run(1))[0] == turn_prompt(ten, Run(10))[0] == plot_prompt(ten)[0]


def test_a_failure_and_a_refusal_are_told(ten):
    state = read_state(ten.workspace.ledger.events)
    failed = next(run for run in state.runs if run.attempts[0].failure)
    failed.attempts = failed.attempts[:1]
    prompt = turn_prompt(ten, failed)[1]
    assert "was not started" in prompt
    assert failed.attempts[0].failure.output[-80:] in prompt
    failed.attempts[0].failure = Failed(**failed.attempts[0].failure.to_json())
    assert "failed (start 1 of 4)" in turn_prompt(ten, failed)[1]
    refused = next(run for run in state.runs if run.refused)
    refused.refusals = refused.refused[:1]
    prompt = turn_prompt(ten, refused)[1]
    assert "nothing was changed" in prompt
    assert refused.refusals[0].feedback in prompt
