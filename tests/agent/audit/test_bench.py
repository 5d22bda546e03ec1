"""The planted faults and the honest sentences, all of them."""

import json
from pathlib import Path

import pytest

from agent.audit import audit, read_document
from agent.audit.bibliography import SHIPPED, read_bibliography
from agent.audit.load import load_evidence
from agent.base.screen import Screen
from agent.campaign.campaign import Campaign
from agent.campaign.workspace import Workspace
from agent.compute.executor import make_executor
from agent.steps.after_step import write_notes
from bench.writeup.__main__ import audit_seconds
from bench.writeup.cases import Bench, Fault, Honest, load_faults, load_honest, unpack
from tests.pace import idle_seconds


@pytest.mark.parametrize("fault", load_faults(), ids=lambda fault: f"{fault.kind}: {fault.replaced[0][1][:40]}")
def test_a_planted_fault_is_found(recorded: Bench, fault: Fault) -> None:
    assert recorded.finds(fault)


@pytest.mark.parametrize("honest", load_honest(), ids=lambda honest: honest.text[:50])
def test_an_honest_sentence_is_left_alone(recorded: Bench, honest: Honest) -> None:
    assert recorded.false_alarms(honest) == []


def test_the_clean_texts_are_clean(recorded: Bench) -> None:
    assert set(recorded.said_of_bases()) == {"notes.md", "paper.tex", "notes.txt"}
    assert not any(recorded.said_of_bases().values())


def test_there_are_enough_of_both() -> None:
    faults = load_faults()
    assert len(faults) >= 60
    assert len({json.dumps([fault.base, fault.replaced]) for fault in faults}) == len(faults)
    assert len(load_honest()) >= 30


def test_a_paper_of_eight_pages_takes_less_than_a_second(recorded: Bench) -> None:
    assert idle_seconds(lambda: audit_seconds(recorded)) < 1


def test_notes_that_the_loop_writes_now_are_clean(tmp_path: Path) -> None:
    folder = unpack(tmp_path / "campaign")
    write_notes(Campaign(Workspace(folder), Screen("quiet"), folder, make_executor("local")), commit=False)
    report = audit(read_document(folder / "notes.txt"), load_evidence(folder), read_bibliography(SHIPPED))
    assert report.clean, report
