"""A campaign whose baselines were made again: the audit judges each run by those of its time, as the notes do."""

import json
import shutil
from pathlib import Path

import pytest

from agent.audit import Document, audit, gather, make_document
from agent.audit.evidence import Evidence
from agent.campaign.events import BaselinesMade, Stale
from agent.campaign.record import Record
from agent.campaign.workspace import Workspace
from agent.report.notes import notes_text
from bench.writeup.cases import unpack

METRIC = "core.explained_variance"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The recorded campaign, its evaluator of core changed after all its runs, and its baselines scored anew."""
    folder = unpack(tmp_path / "campaign")
    home = folder / "run_0"
    older = home / "stale_1"
    older.mkdir()
    for path in [path for path in home.iterdir() if path.is_dir() and path != older]:
        shutil.copytree(path, older / path.name)
    for path in home.glob("*_seed*/results.json"):
        results = json.loads(path.read_text())
        results["entries"]["core"]["key"]["evaluator"] = "anew"
        results["entries"]["core"]["metrics"]["explained_variance"]["value"] += 0.05
        path.write_text(json.dumps(results))
    ledger = Workspace(folder).ledger
    made = next(event for event in ledger.events if isinstance(event, BaselinesMade))
    ledger.append(Stale(changes=["the evaluator of core"], accepted=False))
    ledger.append(made)
    return folder


@pytest.fixture
def evidence(folder: Path) -> Evidence:
    return gather(Record.open(folder))


def _notes(folder: Path) -> Document:
    return make_document(notes_text(Record.open(folder)), "txt", folder / "notes.txt")


def test_the_notes_that_the_loop_writes_itself_hold(folder: Path, evidence: Evidence) -> None:
    report = audit(_notes(folder), evidence, {})
    assert report.unsupported == []
    assert report.claims == []
    assert report.missing_runs == []


def test_the_audit_gives_the_verdicts_of_the_notes(folder: Path, evidence: Evidence) -> None:
    record = Record.open(folder)
    verdicts = set()
    for run in record.state.scored:
        base = record.verdict(run).baseline.name
        row = record.verdict(run).row(METRIC)
        assert row is not None
        verdicts.add(row.verdict)
        assert evidence.base_of(run.name) == base
        assert evidence.judge(run.name, METRIC, base).verdict == row.verdict
        assert evidence.judge(run.name, METRIC, base).delta == row.delta
    assert {"worse", "within noise"} <= verdicts, "of the baselines of now all would be not comparable"


def test_a_baseline_is_the_one_of_the_run_that_is_spoken_of(folder: Path, evidence: Evidence) -> None:
    record = Record.open(folder)
    then, now = (record.groups(number)["topk"].lookup(METRIC) for number in (0, 1))
    assert then is not None
    assert now is not None
    claim = "# Run 1\n\nrun_1 is below topk, which has an explained variance of {:.4f}.\n"
    about_now = "The topk baseline of now has an explained variance of {:.4f}.\n"
    for text, value, right in (
        (claim, then, True),
        (claim, now, False),
        (about_now, now, True),
        (about_now, then, False),
    ):
        document = make_document(text.format(value.value), "md", folder / "text.md")
        found = audit(document, evidence, {}, whole=False, strict=False)
        assert (found.unsupported == []) is right, (text, value)


def test_a_difference_is_taken_from_the_baseline_of_the_run(folder: Path, evidence: Evidence) -> None:
    record = Record.open(folder)
    run = next(run for run in record.state.scored if (row := record.verdict(run).row(METRIC)) and row.delta)
    row = record.verdict(run).row(METRIC)
    assert row is not None
    assert row.delta is not None
    for delta, right in ((row.delta, True), (row.delta - 0.05, False)):
        text = f"The explained variance of {run.name} differs from the baseline by {abs(delta):.4f}.\n"
        found = audit(make_document(text, "md", folder / "text.md"), evidence, {}, whole=False, strict=False)
        assert (found.unsupported == []) is right, text
