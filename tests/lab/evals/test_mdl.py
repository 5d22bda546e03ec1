"""Description length against a plain reading of it, latent by latent."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from lab.artifact import Artifact
from lab.errors import LabError
from lab.evals import mdl
from lab.evals.base import Context
from lab.evals.mdl import Settings, Setup
from tests.lab.conftest import SaveSae, noisy

D = 12
QUICK = Settings(num_bins=(3, 5), k=(2, 4))


@pytest.fixture
def sae(tmp_path: Path, save_sae: SaveSae) -> Artifact:
    return save_sae(tmp_path, noisy(D), D)


@pytest.fixture
def setup() -> Setup:
    x = torch.randn(70, D, generator=torch.Generator().manual_seed(3)) * 60
    return Setup(ranges=x[:40], described=x[40:])


def entropy(shares: list[float]) -> float:
    return -sum(share * math.log2(share) for share in shares if share > 0)


def plain(sae: Artifact, setup: Setup, bins: int, k: int) -> tuple[float, float]:
    """Bits a token, and the error, by SAEBench's steps in their order."""
    largest = [max(100.0, float(column.max())) for column in sae.encode(setup.ranges).T]
    acts = sae.encode(setup.described)
    bits = 0.0
    for latent, top in enumerate(largest):
        edges = torch.linspace(0, top, bins + 1)
        counts = torch.histogram(acts[:, latent].contiguous(), bins=edges).hist
        p = float((acts[:, latent] > 0).float().mean())
        bits += entropy([p, 1 - p]) + p * entropy((counts / counts.sum()).tolist())
    quantised = torch.zeros_like(acts)
    for token, row in enumerate(acts):
        best = set(row.topk(k).indices.tolist())
        for latent, top in enumerate(largest):
            edges = torch.linspace(0, top, bins + 1)
            value = row[latent].relu() if latent in best else torch.tensor(0.0)
            place = int(torch.bucketize(value, edges).clamp(1, bins)) - 1
            quantised[token, latent] = (edges[place] + edges[place + 1]) / 2
    error = (sae.decode(quantised) - setup.described).square().mean().sqrt() / D
    return bits, float(error)


def test_every_pair_of_settings_is_what_the_plain_steps_give(
    tiny_context: Context, sae: Artifact, setup: Setup
) -> None:
    scores = mdl.score(tiny_context, setup, sae, QUICK)
    assert len(scores.details["table"]) == 4
    for row in scores.details["table"]:
        bits, error = plain(sae, setup, row["num_bins"], row["k"])
        assert row["description_length"] == pytest.approx(bits, rel=1e-5)
        assert row["mse_loss"] == pytest.approx(error, rel=1e-5)
    assert scores == mdl.score(tiny_context, setup, sae, QUICK)
    assert set(scores.metrics) == set(mdl.METRICS)


def test_the_shortest_description_within_the_threshold_is_reported(
    tiny_context: Context, sae: Artifact, setup: Setup
) -> None:
    table = mdl.score(tiny_context, setup, sae, QUICK).details["table"]
    by_error = sorted(table, key=lambda row: row["mse_loss"])
    limit = (by_error[0]["mse_loss"] + by_error[1]["mse_loss"]) / 2
    scores = mdl.score(tiny_context, setup, sae, Settings(QUICK.num_bins, QUICK.k, mse_epsilon_threshold=limit))
    assert scores.metrics == {
        "description_length": by_error[0]["description_length"],
        "within_threshold": 1.0,
        "mse_loss": by_error[0]["mse_loss"],
    }
    none = mdl.score(tiny_context, setup, sae, Settings(QUICK.num_bins, QUICK.k, mse_epsilon_threshold=0.0))
    assert none.metrics["within_threshold"] == 0.0
    assert none.metrics["description_length"] == min(row["description_length"] for row in table)


def test_a_silent_sae_takes_no_bits(tiny_context: Context, setup: Setup, tmp_path: Path, save_sae: SaveSae) -> None:
    scores = mdl.score(tiny_context, setup, save_sae(tmp_path, "silent", D), QUICK)
    assert scores.metrics["description_length"] == 0.0


def test_set_up_reads_held_out_text_of_the_real_model(tiny_context: Context) -> None:
    settings = Settings(batch_size=4, range_batches=2, skip_outliers=True)
    setup = mdl.prepare(tiny_context, settings)
    assert setup.d_model == 576
    assert len(setup.described) < len(setup.ranges) < 2 * 4 * 64
    assert torch.equal(setup.described, mdl.prepare(tiny_context, settings).described)


def test_senseless_settings_are_errors(tiny_context: Context) -> None:
    with pytest.raises(LabError, match=r"evals\.mdl"):
        mdl.prepare(tiny_context, Settings(num_bins=(0,)))
