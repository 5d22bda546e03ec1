"""The ledger keeps every event, chained, through torn lines and full disks."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.base.errors import AgentError
from agent.campaign.ledger import Ledger


def test_events_come_back_in_order(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append("started", idea="x")
    ledger.append("scored", run=1, text="ünïcode\nlines")
    again = Ledger(tmp_path / "ledger.jsonl").events
    assert [(event.number, event.kind, event.data) for event in again] == [
        (0, "started", {"idea": "x"}),
        (1, "scored", {"run": 1, "text": "ünïcode\nlines"}),
    ]


@given(st.integers(min_value=1, max_value=200))
def test_a_torn_last_line_was_never_an_event(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.append("one", a=1)
    whole = path.read_bytes()
    ledger.append("two", b="x" * 50)
    torn = path.read_bytes()[: len(whole) + cut]
    if torn.endswith(b"\n"):
        return
    path.write_bytes(torn)
    again = Ledger(path)
    assert [event.kind for event in again.events] == ["one"]
    again.append("three")
    assert [event.kind for event in Ledger(path).events] == ["one", "three"]


@pytest.mark.parametrize("change", ["value", "lost", "order", "json"])
def test_a_changed_line_is_named(tmp_path, change):
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    for number in range(4):
        ledger.append("event", value=number)
    lines = path.read_text().splitlines()
    if change == "value":
        lines[1] = lines[1].replace('"value": 1', '"value": 7')
    elif change == "lost":
        del lines[1]
    elif change == "order":
        lines[1], lines[2] = lines[2], lines[1]
    else:
        lines[1] = lines[1][:20]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(AgentError, match=r"line [23]"):
        Ledger(path)


def test_each_line_carries_the_hash_of_the_one_before(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.append("one")
    ledger.append("two")
    first, second = map(json.loads, path.read_text().splitlines())
    assert first["previous"] == "0" * 64
    assert second["previous"] != first["previous"]


def test_a_disk_that_takes_nothing_is_said(tmp_path):
    ledger = Ledger(tmp_path / "no such folder" / "ledger.jsonl")
    with pytest.raises(AgentError, match="cannot write"):
        ledger.append("one")
    assert ledger.events == []
