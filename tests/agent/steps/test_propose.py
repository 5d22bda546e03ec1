"""What a reply says is held against the results before it goes into the notes; words cost no run."""

from pathlib import Path

import pytest

from agent.base.screen import Screen
from agent.campaign.campaign import Campaign
from agent.campaign.events import Edited, Refused
from agent.campaign.state import Run
from agent.campaign.workspace import Workspace
from agent.compute.executor import make_executor
from agent.steps.propose import propose
from bench.writeup.cases import unpack
from tests.agent.campaigns import Says

BLOCK = "experiment.py\n<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n"
GOOD = "core.explained_variance up by 0.001..0.05\n"
BOAST = "Run 4 improves explained variance over TopK from 0.70 to 0.91 and removes absorption altogether."


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    """The recorded campaign, whose model has not said yet that it is done."""
    folder = unpack(tmp_path / "campaign")
    lines = (folder / "ledger.jsonl").read_text().splitlines(keepends=True)
    ended = next(place for place, line in enumerate(lines) if '"kind": "ended"' in line)
    (folder / "ledger.jsonl").write_text("".join(lines[:ended]))
    return Campaign(Workspace(folder), Screen("quiet"), folder, make_executor("local"))


def asked(campaign: Campaign, *replies: str) -> Says:
    """Ask for the next run until a reply is taken or the replies are used up."""
    model = Says(*replies)
    vars(campaign)["model"] = model
    while model.replies:
        runs = campaign.state.runs
        propose(campaign, runs[-1] if runs[-1].number == 7 else Run(7))
    return model


def reply(campaign: Campaign, change: str, prediction: str, analysis: str = "") -> str:
    code = campaign.workspace.at(campaign.state.base, "experiment.py")
    old = next(line for line in code.splitlines() if line.startswith("    lr: float"))
    said = f"<analysis>{analysis}</analysis>\n" if analysis else ""
    edit = BLOCK.format(old=old, new=old.replace("None", "0.004").replace("0.01", "0.004"))
    return f"{said}<change>{change}</change>\n<prediction>\n{prediction}</prediction>\n\n{edit}"


def last(campaign: Campaign) -> object:
    return campaign.state and campaign.folder.ledger.events[-1]


def test_an_honest_reply_is_taken_with_the_goal_first(campaign: Campaign) -> None:
    analysis = "The hinge never ran; run 4 stays at {run_4:core.explained_variance}."
    asked(campaign, reply(campaign, "A rate of 0.004", "core.l0 same\n" + GOOD, analysis))
    event = last(campaign)
    assert isinstance(event, Edited)
    assert (event.change, event.analysis) == ("A rate of 0.004", analysis)
    assert [line.metric for line in event.predictions] == ["core.explained_variance", "core.l0"]


def test_what_goes_beyond_the_results_is_refused_and_the_blocks_are_kept(campaign: Campaign) -> None:
    boasting = reply(campaign, "A lower rate: run 7 improves explained variance by 12%", GOOD + BOAST, BOAST)
    mended = f"<analysis>The hinge never ran.</analysis>\n<prediction>\n{GOOD}</prediction>\n"
    model = asked(campaign, boasting, mended)
    refused, event = campaign.folder.ledger.events[-2:]
    assert isinstance(refused, Refused)
    assert (refused.fault, len(refused.held)) == ("shape", 1)
    assert "0.91" in refused.feedback
    assert "from 0.70 to 0.91" in model.asked[1]
    assert isinstance(event, Edited)
    assert (event.change, event.analysis) == ("A lower rate", "The hinge never ran.")


def test_words_cost_no_run_they_are_left_out(campaign: Campaign) -> None:
    asked(campaign, *[reply(campaign, "A lower rate", GOOD + BOAST, BOAST)] * 3)
    *_, first, second, event = campaign.folder.ledger.events
    assert isinstance(first, Refused)
    assert isinstance(second, Refused)
    assert isinstance(event, Edited)
    assert (event.analysis, event.prediction) == ("", GOOD.strip())
    assert "not in the notes" in event.remarks


@pytest.mark.parametrize(
    ("prediction", "said"),
    [
        (GOOD + "core.explained_variance down\n", "more than once"),
        ("core.explained_variance up by 0..1000\n", "a range"),
        ("core.l0 same\n", "the goal"),
        ("All will be well.\n", "the goal"),
    ],
)
def test_a_prediction_that_cannot_fail_is_refused(campaign: Campaign, prediction: str, said: str) -> None:
    asked(campaign, reply(campaign, "A lower rate", prediction))
    event = last(campaign)
    assert isinstance(event, Refused)
    assert said in event.feedback
