"""Core metrics of SAEs whose scores are known, and of a bad one against a plain computation with the whole model."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lab.errors import LabError
from lab.evals import core
from lab.evals.base import Context, Scores
from lab.evals.core import Settings, Setup
from lab.evals.sums import Sums
from lab.settings import Profile
from lab.subject import Subject
from tests.lab.conftest import save_kind


@pytest.fixture(scope="module")
def settings(tiny_profile: Profile) -> Settings:
    return Settings(**tiny_profile.evals["core"])


@pytest.fixture(scope="module")
def setup(tiny_context: Context, settings: Settings) -> Setup:
    return core.prepare(tiny_context, settings)


@pytest.fixture(scope="module")
def noisy(tiny_context: Context, setup: Setup, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A bad SAE and its scores."""
    sae = save_kind(tmp_path_factory.mktemp("noisy"), "noisy")
    return sae, core.score(tiny_context, setup, sae, settings)


@pytest.fixture
def scores(tiny_context: Context, setup: Setup, settings: Settings, save_sae: Any, tmp_path: Path) -> Any:
    """Score a kind of SAE."""
    return lambda kind: core.score(tiny_context, setup, save_sae(tmp_path / kind, kind), settings)


def test_an_sae_that_changes_nothing_scores_perfectly(scores: Any) -> None:
    found: Scores = scores("identity")
    assert set(found.metrics) == set(core.METRICS)
    variances = (f"explained_variance{which}" for which in ("", "_saebench", "_legacy"))
    for name in (*variances, "ce_loss_score", "kl_div_score", "cossim", "l2_ratio", "relative_reconstruction_bias"):
        assert found.metrics[name] == pytest.approx(1, abs=1e-5), name
    for name in ("delta_ce", "kl_div_with_sae", "mse", "mse_saebench", "fraction_variance_unexplained"):
        assert found.metrics[name] == pytest.approx(0, abs=1e-5), name
    assert found.metrics["l0"] == pytest.approx(576, abs=1)
    assert found.details["undefined"] == {}
    assert sum(found.details["density"]["counts"]) + found.details["density"]["never"] == 1152


def test_without_losses_the_model_is_not_loaded_for_a_score(
    tiny_context: Context, settings: Settings, noisy: Any, tiny_profile: Profile
) -> None:
    none = dataclasses.replace(settings, reconstruction_batches=0)
    sae, whole = noisy
    fresh = Context(tiny_profile, "cpu")
    found = core.score(fresh, core.prepare(tiny_context, none), sae, none)
    assert "subject" not in vars(fresh)
    losses = {name for name in core.METRICS if "ce_loss" in name or "kl_div" in name or name == "delta_ce"}
    assert set(core.METRICS) - set(found.metrics) == set(found.details["undefined"]) == losses
    assert found.metrics == {name: value for name, value in whole.metrics.items() if name not in losses}
    assert found.details["tokens_through_model"] == 0


def test_an_sae_that_gives_zeros_scores_like_the_ablation(scores: Any) -> None:
    found: Scores = scores("silent")
    metrics = found.metrics
    assert metrics["kl_div_with_sae"] == pytest.approx(metrics["kl_div_with_ablation"], rel=1e-5)
    assert metrics["ce_loss_with_sae"] == pytest.approx(metrics["ce_loss_with_ablation"], rel=1e-5)
    for name in ("ce_loss_score", "kl_div_score"):
        assert metrics[name] == pytest.approx(0, abs=1e-5)
    for name in ("l0", "l1", "l2_norm_out", "cossim", "frac_alive", "normalized_freq_over_1_percent"):
        assert metrics[name] == 0
    assert metrics["fraction_variance_unexplained"] >= 1
    assert list(found.details["undefined"]) == ["relative_reconstruction_bias"]
    assert found.details["density"]["never"] == 288


def whole_model(subject: Subject, tokens: Tensor, replace: Any) -> Tensor:
    """Logits of the whole model with the hooked layer's output passed through `replace`."""

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        return replace(output)

    handle = subject.model.base_model.layers[subject.layer].register_forward_hook(hook)
    try:
        with torch.no_grad():
            return subject.logits(tokens).float()
    finally:
        handle.remove()


def test_a_bad_sae_scores_what_the_whole_model_says(tiny_context: Context, setup: Setup, noisy: Any) -> None:
    sae, metrics = noisy[0], noisy[1].metrics
    n = len(setup.clean_ce)
    tokens, mask = setup.tokens[:n], setup.mask[:n]

    def spliced(resid: Tensor) -> Tensor:
        flat = resid.reshape(-1, 576)
        return torch.where(mask[..., None], sae.decode(sae.encode(flat)).reshape(resid.shape), resid)

    clean = whole_model(tiny_context.subject, tokens, lambda x: x).log_softmax(-1)
    dirty = whole_model(tiny_context.subject, tokens, spliced).log_softmax(-1)
    zero = whole_model(tiny_context.subject, tokens, lambda x: torch.where(mask[..., None], 0.0, x)).log_softmax(-1)
    targets = tokens[:, 1:, None]
    counts = mask[:, :-1] & ~torch.isin(tokens[:, 1:], tiny_context.subject.special_ids)

    def ce(log_p: Tensor) -> float:
        return -log_p[:, :-1].gather(-1, targets).squeeze(-1)[counts].mean().item()

    def kl(log_q: Tensor) -> float:
        return (clean.exp() * (clean - log_q)).sum(-1)[mask].mean().item()

    expected = {
        "ce_loss_without_sae": ce(clean),
        "ce_loss_with_sae": ce(dirty),
        "ce_loss_with_ablation": ce(zero),
        "ce_loss_score": (ce(zero) - ce(dirty)) / (ce(zero) - ce(clean)),
        "delta_ce": ce(dirty) - ce(clean),
        "kl_div_with_sae": kl(dirty),
        "kl_div_with_ablation": kl(zero),
        "kl_div_score": (kl(zero) - kl(dirty)) / kl(zero),
    }
    for name, value in expected.items():
        assert metrics[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name


def test_statistics_are_saebenchs_formulas(setup: Setup, settings: Settings, noisy: Any) -> None:
    sae, metrics = noisy[0], noisy[1].metrics
    rows: dict[str, list[Tensor]] = {}
    fired = torch.zeros(sae.d_sae, dtype=torch.float64)
    for start in range(0, len(setup.tokens), settings.batch_size):
        part = slice(start, start + settings.batch_size)
        x = setup.resid[part][setup.mask[part]]
        acts = sae.encode(x)
        y = sae.decode(acts).double()
        x = x.double()
        error = (x - y).square().sum(1)
        fired += (acts > 0).sum(0)
        for name, value in {
            "mse": error,
            "mse_saebench": error / len(x),
            "legacy": 1 - error / (x - x.mean(0)).square().sum(1),
            "cossim": torch.nn.functional.cosine_similarity(x, y, dim=1),
            "l2_norm_in": x.norm(dim=1),
            "l2_norm_out": y.norm(dim=1),
            "l2_ratio": y.norm(dim=1) / x.norm(dim=1),
            "l0": (acts != 0).sum(1).double(),
            "l1": acts.double().sum(1),
            "bias": (y.square().sum(1).mean() / (x * y).sum(1).mean())[None],
            "squares": x.square().sum(1).mean()[None],
            "coordinates": x.square().mean(0),
            "errors": error.mean()[None],
            "x": x,
            "error": error,
        }.items():
            rows.setdefault(name, []).append(value)
    mean = {name: torch.cat(values).mean().item() for name, values in rows.items()}
    x = torch.cat(rows["x"])
    density = fired / len(x)
    expected = {
        **{
            name: mean[name]
            for name in ("mse", "mse_saebench", "cossim", "l2_norm_in", "l2_norm_out", "l2_ratio", "l0", "l1")
        },
        "explained_variance": 1 - (torch.cat(rows["error"]).sum() / (x - x.mean(0)).square().sum()).item(),
        "explained_variance_saebench": 1 - mean["errors"] / (mean["squares"] - mean["coordinates"] ** 2),
        "explained_variance_legacy": mean["legacy"],
        "relative_reconstruction_bias": mean["bias"],
        "fraction_variance_unexplained": (torch.cat(rows["error"]).sum() / (x - x.mean(0)).square().sum()).item(),
        "frac_alive": (density > 0).double().mean().item(),
        "freq_over_1_percent": (density > 0.01).double().mean().item(),
        "normalized_freq_over_10_percent": (density[density > 0.1].sum() / density.sum()).item(),
    }
    for name, value in expected.items():
        assert metrics[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name
    cosines = sae.W_dec @ sae.W_dec.T - 2 * torch.eye(sae.d_sae)
    assert metrics["average_max_decoder_cosine_sim"] == pytest.approx(cosines.max(1).values.mean().item(), rel=1e-5)


def test_outliers_and_first_positions_are_left_out_and_special_tokens_always(
    tiny_context: Context, setup: Setup, settings: Settings
) -> None:
    norms = setup.resid.norm(dim=-1)
    special = torch.isin(setup.tokens, tiny_context.subject.special_ids)
    assert not setup.mask[:, 0].any()
    assert not (setup.mask & special).any()
    assert norms[setup.mask].max() < norms[:, 0].min()
    everywhere = core.prepare(tiny_context, Settings(4, 1, 1, skip_outliers=False))
    assert torch.equal(everywhere.mask, ~special[:4])


def test_residuals_are_read_back_as_the_model_gave_them(tiny_context: Context, setup: Setup) -> None:
    assert setup.resid.shape == (*setup.tokens.shape, 576)
    assert torch.equal(setup.resid[:4], tiny_context.subject.residuals(setup.tokens[:4]))


def test_two_calls_agree(scores: Any, noisy: Any) -> None:
    assert scores("noisy") == noisy[1]


@pytest.mark.parametrize(("values", "message"), [((0, 1, 1), "at least 1"), ((4, 2, 1), "must not be below")])
def test_senseless_settings_are_an_error(tiny_context: Context, values: tuple[int, int, int], message: str) -> None:
    with pytest.raises(LabError, match=message):
        core.prepare(tiny_context, Settings(*values))


def test_too_little_text_is_an_error(tiny_context: Context) -> None:
    with pytest.raises(LabError, match="held-out text gives only"):
        core.prepare(tiny_context, Settings(100_000, 1, 1))


def test_the_better_of_two_reconstructions_explains_more_at_any_scale_and_saebenchs_number_is_left_out_where_it_lies():
    torch.manual_seed(0)
    mean, x = torch.randn(24), torch.randn(500, 24)
    for scale in (0.1, 1.0, 4.9, 30.0):
        rows = scale * (x + 3 * mean)
        found = {}
        for kept in (0.9, 0.5):
            sums = Sums(1)
            sums.add(rows, torch.ones(500, 1), kept * rows)
            found[kept] = sums.metrics()
        centred = 1 - 0.1**2 * rows.square().sum() / (rows - rows.mean(0)).square().sum()
        assert found[0.9]["explained_variance"] == pytest.approx(float(centred), rel=1e-4)
        assert found[0.9]["explained_variance"] > found[0.5]["explained_variance"]
        defined = rows.square().sum(1).mean() < 24**2
        theirs = [metrics["explained_variance_saebench"] for metrics in found.values()]
        assert all(map(math.isfinite, theirs)) == bool(defined)
        assert not defined or theirs[0] > theirs[1]
