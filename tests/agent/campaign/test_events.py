"""Every event is a line of the ledger and comes back from it; what is no event of this version is refused."""

import json
from typing import Any, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.base.errors import AgentError
from agent.campaign.events import Completed, Ran, Refused, Scored
from agent.campaign.ledger import KINDS, Ledger, Line, read_event
from agent.campaign.settings import Settings
from agent.dialogue.reply import Prediction
from tests.agent.campaigns import ROOT
from tests.agent.events import an

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.integers() | FLOATS | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)
SETTINGS = st.builds(
    Settings,
    profile=st.text(),
    evals=st.none() | st.lists(st.text()).map(tuple),
    run_seconds=st.none() | st.floats(0.1, 1e6),
    together=st.lists(st.text()).map(tuple),
)
KNOWN = {Any: JSON, float: FLOATS, Settings: SETTINGS, Prediction: st.builds(Prediction, low=st.none() | FLOATS)}


def values(annotation):
    """JSON values that a field may have."""
    if annotation in KNOWN:
        return KNOWN[annotation]
    inner = [values(one) for one in get_args(annotation)]
    if get_origin(annotation) is dict:
        return st.dictionaries(*inner)
    if get_origin(annotation) is list:
        return st.lists(*inner)
    return st.one_of(inner) if inner else st.from_type(annotation)


def names(event):
    """The names of an event's fields in a line, in their order."""
    fields = event.model_fields.items()
    return {field.validation_alias or name: field.annotation for name, field in fields if not field.exclude}


EVENTS = st.sampled_from(sorted(KINDS)).flatmap(
    lambda kind: st.builds(KINDS[kind], **{name: values(annotation) for name, annotation in names(KINDS[kind]).items()})
)


@given(EVENTS)
def test_every_event_comes_back_from_its_line_and_gives_the_same_line_again(event):
    text = str(Line(0, "now", event.kind, event.to_json(), "0"))
    line = Line.parse(text)
    again = read_event(line.kind, line.data)
    assert again == event
    assert str(Line(0, "now", again.kind, again.to_json(), "0")) == text
    assert list(line.data) == list(names(type(event)))


def test_a_line_is_written_as_it_always_was(tmp_path):
    refused = Refused(
        run=None, call=2, fault="lint", feedback="é", held=[{"index": 1}], reply="r", said={"change": "c"}
    )
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append(refused)
    time = ledger.entries[0].time
    assert (tmp_path / "ledger.jsonl").read_text() == (
        f'{{"n": 0, "time": "{time}", "kind": "refused", "data": {{"run": null, "call": 2, "kind": "lint", '
        '"feedback": "é", "held": [{"index": 1}], "reply": "r", "said": {"change": "c"}}, '
        f'"previous": "{"0" * 64}"}}\n'
    )


def test_the_kinds_of_event_are_each_a_class_of_their_own():
    assert len(KINDS) == len(set(KINDS.values())) == 35
    assert all(event.kind == kind for kind, event in KINDS.items())


@pytest.mark.parametrize("path", sorted(ROOT.glob("[bt]e*/**/ledger.jsonl")), ids=lambda path: path.parent.name)
def test_ledgers_that_are_kept_here_can_be_read(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [event.kind for event in Ledger(path).events] == [line["kind"] for line in lines]


def test_what_older_ledgers_lack_has_a_value():
    assert read_event("ran", {"run": 1, "seconds": 1.5}) == Ran(run=1, seconds=1.5, idle=[], files={}, sandbox="")
    older = {"run": 1, "seconds": 1.5, "sae": "w", "verdicts": {}}
    assert read_event("scored", older) == Scored(**older, sandbox="", against="", match=None)
    assert read_event("completed", {"runs": 1, "scored": 1}) == Completed(runs=1, scored=1, differences=[])


WHOLE = an(Scored).to_json()


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("unheard_of", {}),
        (["scored"], {}),
        ("scored", None),
        ("scored", {**WHOLE, "unheard_of": 1}),
        ("scored", {**WHOLE, "verdicts": "improved"}),
        ("scored", {name: value for name, value in WHOLE.items() if name != "sae"}),
        ("baselines", {"keys": {}, "runs": []}),
        ("started", {"idea": "i", "commit": "t", "settings": {"unheard_of": 1}}),
    ],
)
def test_a_line_of_another_version_is_refused_in_one_line(tmp_path, kind, data):
    path = tmp_path / "ledger.jsonl"
    path.write_text(f"{Line(0, 'now', kind, data, '0' * 64)}\n")
    with pytest.raises(
        AgentError, match=r"the ledger is of another version of this program .*start the idea anew"
    ) as said:
        Ledger(path)
    assert "\n" not in str(said.value)
