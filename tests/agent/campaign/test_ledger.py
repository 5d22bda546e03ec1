"""The ledger keeps every event, chained, through torn lines and full disks."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.base.errors import AgentError
from agent.campaign.events import Ended, PlotFailed, Resumed, Started, Stopped
from agent.campaign.ledger import Ledger
from tests.agent.events import an


def test_events_come_back_in_order(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    told = [an(Started, idea="x"), PlotFailed(reason="r", output="ünïcode\nlines")]
    for event in told:
        ledger.append(event)
    again = Ledger(tmp_path / "ledger.jsonl")
    assert again.events == told
    assert [entry.number for entry in again.entries] == [0, 1]


@given(st.integers(min_value=1, max_value=200))
def test_a_torn_last_line_was_never_an_event(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.append(Resumed())
    whole = path.read_bytes()
    ledger.append(Stopped(reason="x" * 50))
    torn = path.read_bytes()[: len(whole) + cut]
    if torn.endswith(b"\n"):
        return
    path.write_bytes(torn)
    again = Ledger(path)
    assert again.events == [Resumed()]
    again.append(Stopped(reason="y"))
    assert Ledger(path).events == [Resumed(), Stopped(reason="y")]


@pytest.mark.parametrize("change", ["value", "lost", "order", "json"])
def test_a_changed_line_is_named(tmp_path, change):
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    for number in range(4):
        ledger.append(an(Ended, call=number))
    lines = path.read_text().splitlines()
    if change == "value":
        lines[1] = lines[1].replace('"call": 1', '"call": 7')
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
    ledger.append(Resumed())
    ledger.append(Resumed())
    first, second = map(json.loads, path.read_text().splitlines())
    assert first["previous"] == "0" * 64
    assert second["previous"] != first["previous"]


def test_a_disk_that_takes_nothing_is_said(tmp_path):
    ledger = Ledger(tmp_path / "no such folder" / "ledger.jsonl")
    with pytest.raises(AgentError, match="cannot write"):
        ledger.append(Resumed())
    assert ledger.events == []
