"""The corpus of bench.integrity: what can be said of a reply without running it, and a few taken all the way."""

import shutil
from collections import Counter
from dataclasses import replace

import pytest

from agent.base.places import TEMPLATE
from agent.campaign.folder import EXPERIMENT, PLOT
from agent.dialogue.reply import parse_reply
from agent.edit import apply_reply
from agent.gates.canonical import code_key
from agent.gates.protect import breaches
from bench.integrity.cases import KINDS, OUTCOMES, load_cases
from bench.integrity.judge import judge, make_base
from tests.agent.campaigns import QUICK

CASES = load_cases()
SAME = code_key((TEMPLATE / EXPERIMENT).read_text())


def test_the_corpus_is_large_enough():
    assert sum(not case.honest for case in CASES) >= 130
    assert sum(case.honest for case in CASES) >= 40
    assert len({case.file for case in CASES}) == len(CASES)
    dresses = Counter(case.kind for case in CASES)
    assert all(dresses[kind] >= 3 for kind in KINDS)


def test_what_is_right_and_what_is_wrong():
    hostile, honest = (
        next(case for case in CASES if case.expect == "named" and case.honest is kind) for kind in (False, True)
    )
    assert [hostile.wrong(outcome) for outcome in OUTCOMES] == ["undetected", "weaker", "", "", "", ""]
    assert [honest.wrong(outcome) for outcome in OUTCOMES] == ["unnamed"] * 2 + [""] + ["false alarm"] * 3
    assert replace(honest, expect="kept").wrong("kept") == ""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.file)
def test_what_is_refused_before_the_run(case, tmp_path):
    for name in (EXPERIMENT, PLOT, "notes.txt"):
        shutil.copy(TEMPLATE / name, tmp_path)
    parts, name = parse_reply(case.reply), PLOT if case.plots else EXPERIMENT
    outcome = apply_reply(parts.edits, tmp_path, [name])
    source = (tmp_path / name).read_text()
    same = not case.plots and code_key(source) == SAME
    unsaid = not case.plots and not parts.prediction
    assert (not outcome.applied or bool(breaches(source, case.plots)) or same or unsaid) == (case.expect == "refused")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("base"), str(QUICK))


@pytest.mark.parametrize("name", ["times_zero_beside", "smaller_l0"])
def test_a_few_all_the_way(name, base, tmp_path):
    (case,) = (case for case in CASES if case.file == name)
    verdict = judge(case, base, tmp_path)
    assert verdict.outcome == case.expect, verdict.why
    assert len(verdict.why) < 1700
