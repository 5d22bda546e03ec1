"""Meta-structure: what is explained of planted and of random decoders, and one step against a plain one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lab.errors import LabError
from lab.evals import meta_structure
from lab.evals.base import Context
from lab.evals.meta_structure import MetaSae, Settings, train
from tests.lab.conftest import ReluSae, SaveSae

D = 24
QUICK = Settings(train_steps=150, train_batch_size=64, learning_rate=5e-3)


def mixtures(seed: int = 0) -> Tensor:
    """80 rows, each the sum of two of six directions."""
    generator = torch.Generator().manual_seed(seed)
    parts = torch.linalg.qr(torch.randn(D, 6, generator=generator)).Q.T
    pairs = torch.stack([torch.randperm(6, generator=generator)[:2] for _ in range(80)])
    return parts[pairs].sum(1)


def test_a_decoder_of_mixtures_is_explained_and_a_random_one_is_not(
    tiny_context: Context, tmp_path: Path, save_sae: SaveSae
) -> None:
    random = torch.randn(80, D, generator=torch.Generator().manual_seed(1))
    setup = meta_structure.prepare(tiny_context, QUICK)
    found = []
    for name, rows in (("mixed", mixtures()), ("random", random)):
        sae = save_sae(tmp_path / name, ReluSae(rows), D)
        scores = meta_structure.score(tiny_context, setup, sae, QUICK)
        assert scores == meta_structure.score(tiny_context, setup, sae, QUICK)
        meta = train(sae.W_dec, QUICK)
        error = (sae.W_dec - meta(sae.W_dec).detach()).square().sum()
        spread = (sae.W_dec - sae.W_dec.mean(0)).square().sum()
        assert scores.metrics["decoder_fraction_variance_explained"] == pytest.approx(float(1 - error / spread))
        assert scores.metrics["final_reconstruction_mse"] == pytest.approx(float(error) / sae.W_dec.numel())
        assert scores.details["meta_latents"] == 20
        found.append(scores.metrics["decoder_fraction_variance_explained"])
    assert found[0] > 0.9
    assert found[1] < 0.8


def test_the_output_and_its_gradient_are_those_of_the_dense_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    meta = MetaSae(D, 10, 2, generator)
    for parameter in meta.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    x = torch.randn(7, D, generator=generator)
    norms = meta.W_dec.norm(dim=1)
    acts = ((x - meta.b_dec) @ meta.W_enc.T + meta.b_enc) * norms
    best = acts.relu().flatten().topk(14).indices
    kept = torch.zeros(70).scatter(0, best, acts.relu().flatten()[best]).view(7, 10)
    expected = (kept / norms) @ meta.W_dec + meta.b_dec
    torch.testing.assert_close(meta(x), expected)
    ours = torch.autograd.grad((meta(x) - x).square().sum(), list(meta.parameters()), retain_graph=True)
    plain = torch.autograd.grad((expected - x).square().sum(), list(meta.parameters()))
    torch.testing.assert_close(ours, plain)


def test_equal_rows_have_no_variance_to_explain(tiny_context: Context, tmp_path: Path, save_sae: SaveSae) -> None:
    rows = torch.zeros(8, D)
    rows[:, 0] = 1
    settings = dataclasses.replace(QUICK, train_steps=2)
    scores = meta_structure.score(tiny_context, meta_structure.Setup(), save_sae(tmp_path, ReluSae(rows), D), settings)
    assert set(scores.metrics) == {"final_reconstruction_mse"}
    assert set(scores.details["undefined"]) == {"decoder_fraction_variance_explained"}


@pytest.mark.parametrize("change", [{"k": 0}, {"width_ratio": 0.0}, {"width_ratio": 2.0}, {"train_steps": 0}])
def test_senseless_settings_are_errors(tiny_context: Context, change: dict[str, object]) -> None:
    with pytest.raises(LabError, match=r"evals\.meta_structure"):
        meta_structure.prepare(tiny_context, dataclasses.replace(QUICK, **change))  # type: ignore[arg-type]
