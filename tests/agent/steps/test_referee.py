"""A referee reads each scored run; what it finds stands in notes and review, has its price, and decides nothing."""

import json
from pathlib import Path

import pytest

from agent.audit import audit, gather, read_document
from agent.base.errors import AgentError
from agent.base.screen import Screen
from agent.campaign.campaign import Campaign
from agent.campaign.events import Refereed, SettingsChanged
from agent.campaign.settings import Settings
from agent.campaign.state import next_step
from agent.campaign.workspace import Workspace
from agent.compute.executor import make_executor
from agent.dialogue.prompt import plot_prompt
from agent.launch import main
from agent.report.notes import notes_text
from agent.report.review import report_page
from agent.steps.after_step import after_step
from agent.steps.referee import referee
from bench.writeup.cases import unpack

FOUND = "`lr: float = 0.01` is 3 times the baseline's, so run_2 improved explained variance by 41% for another reason."


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    """The recorded campaign, read by a referee whose replies lie in a file."""
    folder = unpack(tmp_path / "campaign")
    replies = tmp_path / "replies.jsonl"
    reply = {"reply": json.dumps({"findings": [FOUND]}), "tokens_in": 1000, "tokens_out": 20}
    replies.write_text("".join(f"{json.dumps({**reply, **other})}\n" for other in OTHER))
    campaign = Campaign(Workspace(folder), Screen("quiet"), folder, make_executor("local"))
    settings = campaign.settings.model_copy(update={"referee": f"replay:{replies}"})
    campaign.record(SettingsChanged(settings=settings))
    return campaign


OTHER = [
    {},
    {"reply": "Looks fine to me."},
    {"reply": '{"findings": []}'},
    *[{"reply": '{"findings": ["' + "x" * 601 + '"]}'}] * 3,
    *[{}] * 3,
]


def read_all(campaign: Campaign) -> list[Refereed]:
    """Have every run read that is not."""
    while (due := next_step(campaign.state))[0] == "referee":
        assert due[1] is not None
        referee(campaign, due[1])
    return [event for event in campaign.events if isinstance(event, Refereed)]


def test_every_scored_run_is_read_once_and_its_cost_is_that_of_all_replies(campaign: Campaign) -> None:
    events = read_all(campaign)
    assert [event.run for event in events] == [run.number for run in campaign.state.scored]
    assert [(event.findings, event.failure, event.tokens) for event in events[:3]] == [
        ([FOUND], "", 1020),
        ([], "", 2040),
        ([], "3 replies had not the fixed form", 3060),
    ]
    assert events[-1].findings == [FOUND]
    assert next_step(campaign.state)[0] != "referee"


def test_it_is_shown_change_scores_and_code(campaign: Campaign) -> None:
    read_all(campaign)
    lines = [json.loads(line) for line in (campaign.workspace.path / "referee.jsonl").read_text().splitlines()]
    first, run = lines[0]["request"]["prompt"], campaign.attempt(1)
    assert lines[0]["purpose"] == "referee_run_1"
    assert f"Change: {run.change}" in first
    assert campaign.workspace.diff(run.parent, run.commit, ("experiment.py",)) in first
    assert campaign.workspace.at(run.commit, "experiment.py") in first
    assert str(campaign.verdict(campaign.state.runs[0]).row(campaign.goal).value) in first
    assert "Your last reply was refused: it is no JSON" in lines[2]["request"]["prompt"]


def test_its_findings_stand_in_notes_and_review_and_change_nothing_else(campaign: Campaign, tmp_path: Path) -> None:
    plain, verdicts = notes_text(campaign), [campaign.verdict(run).rows for run in campaign.state.scored]
    read_all(campaign)
    notes = notes_text(campaign)
    assert f"Referee: replay:replies.jsonl, 1,020 tokens, $0.000; decides nothing\n- {FOUND}\n" in notes
    assert "- nothing found\n" in notes
    assert "- 3 replies had not the fixed form\n" in notes
    added = [line for line in notes.splitlines() if line not in plain.splitlines()]
    assert all(line.startswith(("Referee: ", "- ")) for line in added)
    assert [campaign.verdict(run).rows for run in campaign.state.scored] == verdicts
    assert FOUND not in "".join(plot_prompt(campaign))
    page = report_page(campaign)
    assert page.count("<h4>Referee</h4>") == len(campaign.state.scored)
    assert "is 3 times the baseline&#39;s" in page
    assert "referee calls" in page


def test_the_audit_knows_its_words_where_they_stand_and_nowhere_else(campaign: Campaign) -> None:
    def found(text: str) -> set[str]:
        path = campaign.workspace.path / "notes.txt"
        path.write_text(text)
        report = audit(read_document(path), gather(campaign), {})
        return {item.text for items in vars(report).values() for item in items}

    before = found(notes_text(campaign))
    read_all(campaign)
    notes = notes_text(campaign)
    assert found(notes) == before
    claim = "run_2 improved explained variance by 41%."
    assert any(claim in text for text in found(f"{notes}\n{claim}\n") - before)


def test_notes_are_committed_when_a_run_was_read(campaign: Campaign) -> None:
    read_all(campaign)
    after_step(campaign)
    assert FOUND in campaign.workspace.at("HEAD", "notes.txt")


def test_a_referee_is_another_model_at_whatever_address() -> None:
    assert Settings(model="openai:m", referee="openai:n").referee == "openai:n"
    with pytest.raises(ValueError, match="another model"):
        Settings(model="openai:m@http://127.0.0.1:1/v1", referee="openai:m@http://127.0.0.1:2/v1")


@pytest.mark.parametrize(
    ("referee", "said"),
    [
        ("openai:m@http://127.0.0.1:2/v1", "error: --referee: name another model than the one that writes"),
        ("nobody:m", "error: --referee 'nobody:m' is unknown"),
    ],
)
def test_a_wrong_referee_is_one_line_before_anything_is_made(referee, said, tmp_path, capsys) -> None:
    options = ["--idea", "hierarchical_orthogonal_sae", "--model", "openai:m@http://127.0.0.1:1/v1"]
    assert main([*options, "--referee", referee, "--runs", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(said)
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_without_replies_the_campaign_stops_and_keeps_what_it_has(campaign: Campaign, tmp_path: Path) -> None:
    (tmp_path / "replies.jsonl").write_text(json.dumps({"reply": '{"findings": []}'}) + "\n")
    with pytest.raises(AgentError, match="is at its end"):
        read_all(campaign)
    assert [event.run for event in campaign.events if isinstance(event, Refereed)] == [1]
    campaign.record(SettingsChanged(settings=campaign.settings.model_copy(update={"referee": ""})))
    assert next_step(campaign.state)[0] != "referee"
