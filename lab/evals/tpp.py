"""Targeted probe perturbation: does taking away a concept's latents hurt that concept's probe, and no other?

The names, definitions and defaults are those of SAEBench 0.6.0 (Karvonen et al. 2025, arXiv:2503.09532), after Karvonen
et al. 2024 (arXiv:2411.18895). A linear probe on mean residuals is trained for each class of a set against the others.
The n latents with the largest effect on it, (mean on the class - mean on the rest, where positive) x (probe . decoder
row), are set to zero, the SAE's error being kept. ``intended_diff_only`` is the fall of the class's own test accuracy,
``unintended_diff_only`` the mean fall of the other classes', ``total_metric`` their difference; all are means over
classes, then over sets.

SAEBench's quirks that are kept, so that numbers compare:
- means that rank latents are over tokens that count, but sums that latents are taken from run over all positions, those
  left out being zero residuals: an SAE whose latents fire on zeros loses them there too;
- probes keep the epoch that is best on the test texts, and are then tested with other negatives.

What differs, by choice:
- Seeds are fixed, and one draw of negatives serves the clean and all perturbed accuracies; SAEBench draws them anew for
  each figure, which adds noise to the differences.
- Where fewer than n effects are positive, only those latents are taken; SAEBench goes on with latents of no effect, in
  no defined order.
- Texts are encoded once instead of 1 + 7 x classes times, and probes are read off the sums; residuals are in float32.
- With `skip_outliers` (the embedded profile) position 0 and massive activations count as left out.
- The embedded profile takes sets of `sae-probes` with fewer texts of each class.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING

import torch

from lab import cache, hub_sets
from lab.evals import ablation, pooled
from lab.evals.ablation import N_VALUES, Ablation, AblationSettings, Setup, Trained, effects, names_at, strongest
from lab.evals.base import Context, Scores
from lab.evals.metric import Metric
from lab.evals.pooled import Wanted
from lab.evals.tasks import one_vs_rest

if TYPE_CHECKING:
    from lab.artifact import Artifact

_PAPER = "arXiv:2411.18895"

METRICS: dict[str, Metric] = {
    name: metric
    for n in N_VALUES
    for name, metric in {
        f"tpp_threshold_{n}_total_metric": Metric(
            "higher", "", _PAPER, n in (10, 100), names_at(n, "TPP", "targeted probe perturbation")
        ),
        f"tpp_threshold_{n}_intended_diff_only": Metric("higher", "", _PAPER),
        f"tpp_threshold_{n}_unintended_diff_only": Metric("lower", "", _PAPER),
    }.items()
}


@dataclass(frozen=True)
class Settings(AblationSettings):
    """SAEBench's defaults. `sets` are names as `lab.labelled` has them."""

    sets: tuple[str, ...] = (f"{hub_sets.BIOS}_class_set1", hub_sets.AMAZON)


def _wanted(settings: Settings) -> list[Wanted]:
    sizes = (settings.train_size, settings.test_size, settings.seed, settings.context_length, settings.skip_outliers)
    return [Wanted(name, *sizes) for name in settings.sets]


def data(ctx: Context, settings: Settings) -> str:
    """The texts of the sets and their cutting."""
    return cache.fingerprint([wanted.fingerprint for wanted in _wanted(settings)])


def prepare(ctx: Context, settings: Settings) -> Setup:
    """Residuals of the sets and a probe for each class, from the cache when they are there.

    Raises:
        LabError: a set cannot be read, or a setting makes no sense.
    """
    sets = [pooled.prepare(ctx, wanted) for wanted in _wanted(settings)]
    tasks = [one_vs_rest(found, settings.seed) for found in sets]
    setup = ablation.train(ctx, "tpp", sys.modules[__name__], settings, sets, tasks)
    return Setup(tuple(_tested_anew(trained, settings.seed + 1) for trained in setup.sets))


def _tested_anew(trained: Trained, seed: int) -> Trained:
    """Other negatives to test on than those that chose a probe's epoch, on which it is too good."""
    test = one_vs_rest(trained.pooled, seed).test
    return replace(trained, tasks=replace(trained.tasks, test=test))


def score(ctx: Context, setup: Setup, sae: Artifact, settings: Settings) -> Scores:
    """Every metric of METRICS for one SAE; no model is run.

    Args:
        ctx: the call's context.
        setup: from `prepare`.
        sae: takes raw residuals; its decoder rows have norm 1.
        settings: those that `setup` was made with.
    """
    sizes = [n for n in settings.n_values if n <= sae.d_sae]
    classes = {trained.pooled.wanted.name: _classes(ctx, trained, sae, sizes) for trained in setup.sets}
    metrics = {
        name: fmean(fmean(row[name] for row in rows.values()) for rows in classes.values())
        for name in (name for name in METRICS if int(name.split("_")[2]) in sizes)
    }
    details = {"classes": classes, "undefined": ablation.too_wide(METRICS, settings.n_values, sae.d_sae)}
    return Scores(metrics, details)


@torch.no_grad()
def _classes(ctx: Context, trained: Trained, sae: Artifact, sizes: list[int]) -> dict[str, dict[str, float]]:
    """For each class its clean accuracy and what taking its latents away does, by metric."""
    ablated = Ablation(trained, pooled.latents(ctx, trained.pooled, sae), sae)
    names, none = trained.tasks.names, torch.zeros(0, dtype=torch.int64, device=sae.device)
    clean = ablated.accuracies(none, 0).diagonal()
    found = {}
    for index, name in enumerate(names):
        rise, along = effects(ablated.latents, ablated.train[index], ablated.probe.weight[index], sae.W_dec)
        chosen = strongest(rise.clamp(min=0) * along, max(sizes, default=0))
        row = {"clean_accuracy": clean[index].item()}
        for n in sizes:
            fall = clean - ablated.accuracies(chosen, n).diagonal()
            intended = fall[index].item()
            unintended = (fall.sum().item() - intended) / (len(names) - 1)
            row |= {
                f"tpp_threshold_{n}_total_metric": intended - unintended,
                f"tpp_threshold_{n}_intended_diff_only": intended,
                f"tpp_threshold_{n}_unintended_diff_only": unintended,
            }
        found[name] = row
    return found
