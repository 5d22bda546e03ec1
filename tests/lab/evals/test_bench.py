"""The bench of the evaluations: what it says of two sides' rows, and without SAEBench's environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bench.evals import __main__ as bench
from bench.evals import saes
from bench.evals.compare import compare, cost_table, costs, table


def row(seed: int, value: float, seconds: float = 1.0, name: str = "tpp") -> dict[str, Any]:
    return {
        "eval": name,
        "sae": "topk",
        "seed": seed,
        "metrics": {"m": value, "tpp_threshold_500_total_metric": value},
        "seconds": seconds,
        "setup_seconds": 2 * seconds,
    }


def test_values_agree_within_the_range_of_saebenchs_seeds() -> None:
    theirs = [row(1, 0.4, 10), row(2, 0.5), row(3, 0.6)]
    (found,) = compare(theirs, [row(1, 0.65), row(2, 0.71)])
    assert found["theirs"] == pytest.approx(0.5)
    assert found["ours"] == pytest.approx(0.68)
    assert found["spread"] == pytest.approx(0.2)
    assert found["agrees"]
    (far,) = compare(theirs, [row(1, 0.71)])
    assert not far["agrees"]
    assert "differs" in table([far])


def test_without_seeds_values_agree_to_four_digits() -> None:
    assert compare([row(0, 2.0)], [row(0, 2.0001)])[0]["agrees"]
    assert not compare([row(0, 2.0)], [row(0, 2.001)])[0]["agrees"]


def test_costs_are_means_over_saes_and_sums_over_evaluations() -> None:
    rows = compare([row(1, 0, 10), row(1, 0, 30, "scr")], [row(1, 0, 1), row(1, 0, 3, "scr")])
    found = costs(rows)
    assert found["together"] == {"seconds_theirs": 40, "seconds_ours": 4, "setup_theirs": 80, "setup_ours": 8}
    assert "10.0x" in cost_table(found)


def test_the_three_saes_share_a_dictionary_and_an_l0() -> None:
    acts = torch.randn(2000, 16, generator=torch.Generator().manual_seed(0)) + 1
    found = saes.variants(saes.train(acts, d_sae=32, k=4, steps=20), 4, acts)
    for sae in found.values():
        active = (sae.encode(acts) > 0).sum(1).float().mean().item()
        assert active == pytest.approx(4, abs=0.2)
        assert torch.equal(sae.W_dec, found["topk"].W_dec)


def test_without_saebench_the_bench_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(bench, "PYTHON", tmp_path / "python")
    assert bench.main([]) == 2
    assert "make sae-bench" in capsys.readouterr().err
