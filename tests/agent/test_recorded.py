"""Campaigns that an earlier version recorded are read, checked and gone on with (`tests/recorded/README.md`)."""

import hashlib
import json
import os
import tarfile
from pathlib import Path

import pytest

from agent.audit.__main__ import main as audit
from agent.campaign.events import SmokeFailed
from agent.campaign.ledger import Ledger
from agent.review import main as review
from agent.verify import main as verify
from tests.agent.campaigns import ROOT, launch
from tests.recorded.record import plain, states

RECORDED = ROOT / "tests" / "recorded" / "0.1.0"
CAMPAIGNS = ("finished", "unfinished")
LEDGERS = ("kept_stale", "mishaps", "slurm", "together")
# A field of `State`, or of what it holds, as it is called now: as it was called then; None where there was none.
RENAMED: dict[str, str | None] = {
    "baseline_sets": "eras",
    "baseline_set": "era",
    "closing_set": None,
    "commitment": None,
    "revealed": None,
    "repeats": None,
    "look": None,
    "refereed": None,
    "referee_calls": None,
    "hashes": "sealed",
    "pending": "held",
}
# What the notes said then: what they say now.
OLD_LEGEND = (
    '"improved" and "worse" below mean outside the 95% prediction interval (Student\'s t) of one new run of the '
    "baseline;\n"
    "against an earlier run, outside that of the difference of two runs. How a verdict is made: docs/comparison.md."
)
NEW_LEGEND = """A change is an effect with half the width of its 95% interval. "improved" and "worse": the interval leaves out 0. "no
effect": it holds none that would matter. "undecided": it holds both, so seeds hide what there may be. Verdicts are about
the goal and the guards; other metrics are exploratory. How a verdict is made: docs/comparison.md."""  # noqa: E501
REWORDED = {
    "(noise ±": "(±",
    OLD_LEGEND: NEW_LEGEND,
    "were made and 6 lie outside their 95% interval;": "were made, and 6 have an interval that leaves out 0;",
    "would. A single one outside is a lead;": (
        "would. With false discoveries held to 5% (Benjamini and Hochberg) these are left: "
        + ", ".join(
            f"core.{metric} of run_{run}"
            for metric, run in (
                *((name, run) for run in (1, 2) for name in ("explained_variance", "fraction_variance_unexplained")),
                ("cossim", 1),
                ("cossim", 2),
            )
        )
        + ". One of them is a lead;"
    ),
    "at 0.0001000 ± 0 [topk]": "at 0.0001 ± 0 [topk]",
    "core.l0 same: hit (changed by 0.02791,": "core.l0 same: undecided (changed by 0.02791,",
}


def as_then(state):
    """A state in the words of then."""
    told = plain(state, RENAMED)
    if state.figures is not None:
        told["figures"] = {"figures": state.figures}
    for run, told_run in zip(state.runs, told["runs"], strict=True):
        for attempt, told_attempt in zip(run.attempts, told_run["attempts"], strict=True):
            if isinstance(attempt.failure, SmokeFailed):
                told_attempt["failure"]["smoke"] = True
    return told


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The recorded campaigns as they were left; no test changes them."""
    folder = tmp_path_factory.mktemp("recorded")
    for name in CAMPAIGNS:
        unpack(name, folder)
    return folder


def unpack(name, folder):
    with tarfile.open(RECORDED / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / name


def at_home(campaign):
    """The campaign, told by one more event where its profile lies on this machine."""
    ledger = campaign / "ledger.jsonl"
    lines = ledger.read_text().splitlines()
    told = [line["data"] for line in map(json.loads, lines) if line["kind"] in ("started", "settings")]
    event = {
        "n": len(lines),
        "time": "2026-12-01T12:00:00.000+00:00",
        "kind": "settings",
        "data": {"settings": {**told[-1]["settings"], "profile": str(RECORDED / "recorded.toml")}},
        "previous": hashlib.sha256(lines[-1].encode()).hexdigest(),
    }
    ledger.write_text("\n".join([*lines, json.dumps(event)]) + "\n")
    return campaign


def ledger_of(name, unpacked):
    return unpacked / name / "ledger.jsonl" if name in CAMPAIGNS else RECORDED / f"{name}.jsonl"


def kinds(ledger):
    return [json.loads(line)["kind"] for line in ledger.read_text().splitlines()]


@pytest.mark.parametrize("name", [*CAMPAIGNS, *LEDGERS])
def test_a_ledger_folds_into_the_state_of_then_after_each_of_its_events(name, unpacked):
    state, hashes = states(ledger_of(name, unpacked), as_then)
    assert state == json.loads((RECORDED / f"{name}.state.json").read_text())
    assert hashes == json.loads((RECORDED / f"{name}.states.json").read_text())


@pytest.mark.parametrize("name", [*CAMPAIGNS, *LEDGERS])
def test_the_events_of_a_ledger_are_written_as_they_were(name, unpacked):
    lines = ledger_of(name, unpacked).read_text().splitlines()
    events = Ledger(ledger_of(name, unpacked)).events
    written = [json.dumps(event.model_dump(mode="json", by_alias=True, exclude_unset=True)) for event in events]
    assert written == [json.dumps(json.loads(line)["data"]) for line in lines]


def test_every_kind_of_event_is_in_a_recorded_ledger(unpacked):
    found = {kind for name in (*CAMPAIGNS, *LEDGERS) for kind in kinds(ledger_of(name, unpacked))}
    assert len(found) == 30


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_a_campaign_verifies_as_it_did(name, unpacked, capsys):
    assert verify([str(unpacked / name)]) == 0
    assert capsys.readouterr().out == "all is as it was recorded\n"


def unspaced(text):
    """A text as one line, without the rules of its tables, which are as wide as what stands in them."""
    return " ".join(word for word in text.split() if set(word) != {"-"})


def test_a_finished_campaign_is_shown_and_its_notes_are_clean_and_stay_as_they_were(tmp_path, capsys):
    campaign = at_home(unpack("finished", tmp_path))
    notes = (campaign / "notes.txt").read_text()
    for then, now in REWORDED.items():
        notes = notes.replace(then, now)
    assert review([str(campaign)]) == 0
    page = Path(capsys.readouterr().out.strip()).read_text()
    assert all(word in page for word in ("A learning rate a hundred times as high", "run_2_confirm", "improved"))
    assert audit([str(campaign / "notes.txt"), "--run", str(campaign)]) == 0
    assert capsys.readouterr().out == (RECORDED / "finished.audit.json").read_text()
    done = launch("--resume", campaign, "--quiet")
    assert done.returncode == 0, done.stderr
    assert unspaced((campaign / "notes.txt").read_text()) == unspaced(notes)


@pytest.mark.slow
def test_an_unfinished_campaign_is_gone_on_with_to_its_end(prepared, tmp_path, capsys):
    campaign = at_home(unpack("unfinished", tmp_path))
    ledger, before = campaign / "ledger.jsonl", (campaign / "ledger.jsonl").read_text()
    script = f"replay:{RECORDED / 'unfinished.script.jsonl'}"
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    # Its baselines are stale for a version that scores otherwise, and are to be kept all the same.
    more = ["--max-runs", 4, "--budget-tokens", 100_000, "--stale-ok"]
    done = launch("--resume", campaign, "--model", script, *more, env=one_thread)
    assert done.returncode == 0, done.stderr
    assert ledger.read_text().startswith(before)
    since = kinds(ledger)[before.count("\n") :]
    steps = ["edited", "smoked", "ran", "scored", "ended", "plot_edited", "plotted", "completed"]
    assert [kind for kind in since if kind in (*steps, "refused", "failed")] == steps
    last = json.loads(ledger.read_text().splitlines()[-1])
    assert (last["kind"], last["data"]) == ("completed", {"runs": 3, "scored": 3, "differences": []})
    assert verify([str(campaign)]) == 0
    capsys.readouterr()
    assert "3 of 3 runs were scored" in (campaign / "notes.txt").read_text()
