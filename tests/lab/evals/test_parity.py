"""The lab's numbers against SAEBench's own, on small SAEs that are kept here with what SAEBench 0.6.0 said of them.

`python -m bench.evals --write-parity tests/lab/evals/parity.json` makes both files anew (it needs `make sae-bench`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.evals import job, ours, parity
from bench.evals.compare import agree, passes, summary
from bench.evals.plan import EVALS, PARITY
from bench.evals.saes import KINDS
from lab.settings import Profile
from lab.subject import Subject

FILE = Path(__file__).with_name("parity.json")
THEIRS = parity.numbers(FILE)
CASES = [(name, kind) for name in EVALS for kind in KINDS]


@pytest.fixture(scope="module")
def rows(
    tiny_profile: Profile, tiny_subject: Subject, tmp_path_factory: pytest.TempPathFactory
) -> list[Mapping[str, Any]]:
    """The lab's scores of the parity set's SAEs, with two of its seeds."""
    saes, tokens = parity.read(FILE)
    ctx = parity.FixedText(tiny_profile, "cpu")
    ctx.tokens = tokens
    ctx.__dict__["subject"] = tiny_subject
    acts = tiny_subject.residuals(tokens).flatten(0, 1)
    folder = tmp_path_factory.mktemp("parity")
    plan = replace(PARITY, seeds=PARITY.seeds[:2])
    job.write(plan, ctx, folder, EVALS, saes, acts)
    return ours.run(plan, ctx, folder, EVALS)


def test_every_number_of_saebenchs_is_there(rows: list[Mapping[str, Any]]) -> None:
    for name, kind in CASES:
        assert set(theirs(name, kind)) <= set(ours_of(rows, name, kind))


@pytest.mark.parametrize("name", EVALS)
def test_the_labs_numbers_are_saebenchs(name: str, rows: list[Mapping[str, Any]]) -> None:
    found = [
        {
            "number": (kind, metric, mean, ours_of(rows, name, kind)[metric][0]),
            "spread": spread,
            "agrees": agree(mean, ours_of(rows, name, kind)[metric][0], spread),
        }
        for kind in KINDS
        for metric, (mean, spread) in theirs(name, kind).items()
    ]
    assert passes(found), [row for row in found if not row["agrees"]]


def theirs(name: str, kind: str) -> dict[str, tuple[float, float | None]]:
    """SAEBench's numbers. Of 64 latents some 20 have a positive effect on a TPP probe: more cannot be compared."""
    skipped = ("total_tokens", "tpp_threshold_20", "tpp_threshold_50")
    return {metric: value for metric, value in THEIRS[name][kind].items() if not metric.startswith(skipped)}


def ours_of(rows: list[Mapping[str, Any]], name: str, kind: str) -> dict[str, tuple[float, float | None]]:
    return summary([row for row in rows if (row["eval"], row["sae"]) == (name, kind)])


def test_only_what_draws_samples_has_a_spread() -> None:
    for name, kind in CASES:
        spreads = [spread for _, spread in THEIRS[name][kind].values()]
        assert all(spread is None for spread in spreads) == (name == "core")
        assert len(spreads) >= 6


def test_a_number_that_is_off_is_told() -> None:
    assert agree(1.0, 1.00009, None)
    assert not agree(1.0, 1.00011, None)
    assert agree(0.5, 0.52, 0.03)
    assert not agree(0.5, 0.54, 0.03)
