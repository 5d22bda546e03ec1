"""Spurious correlation removal: can a concept be taken out of a biased probe by taking away a few latents?

The names, definitions and defaults are those of SAEBench 0.6.0 (Karvonen et al. 2025, arXiv:2503.09532), after Karvonen
et al. 2024 (arXiv:2411.18895), who turned SHIFT (Marks et al. 2024, arXiv:2403.19647) into a score. Texts have two
labels, such as profession and gender. A linear probe on mean residuals is trained to tell male professors from female
nurses, and one for each label on texts balanced in the other. The n latents with the largest |effect| on the gender
probe, (mean on male - mean on female) x (probe . decoder row), are set to zero, the SAE's error being kept, and the
biased probe is tested on profession:

    scr_dir1 = (its accuracy then - before) / (accuracy of the profession probe - before)

``scr_dir2`` exchanges the labels. ``scr_metric`` is that direction in which the biased probe is worse before; it is
absent where both are equal. All are means over pairs.

SAEBench's quirks that are kept, so that numbers compare:
- a score counts as 0 where there is less than 0.001 to win back;
- means that rank latents are over tokens that count, but sums that latents are taken from run over all positions, those
  left out being zero residuals: an SAE whose latents fire on zeros loses them there too;
- probes keep the epoch that is best on the test texts; of a quadrant the first texts are taken.

What differs, by choice:
- Only the three probes that a score needs are trained, not their three mirror images. Seeds are fixed, so two calls
  agree.
- Texts are encoded once instead of 21 times, and probes are read off the sums; residuals are in float32.
- With `skip_outliers` (the embedded profile) position 0 and massive activations count as left out.
- The embedded profile takes reviews of `sae-probes`, subject x sentiment, with fewer texts of each kind. Occupation and
  gender cannot be joined there: the smallest quadrant of the largest pair has 37 texts.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lab import cache, hub_sets
from lab.errors import LabError
from lab.evals import ablation, pooled
from lab.evals.ablation import N_VALUES, Ablation, AblationSettings, Setup, Trained, effects, names_at, strongest
from lab.evals.base import Context, Scores
from lab.evals.metric import Metric
from lab.evals.pooled import Pooled, Wanted
from lab.evals.tasks import Tasks
from lab.labelled import BETWEEN

if TYPE_CHECKING:
    from lab.artifact import Artifact

_PAPER = "arXiv:2411.18895"
_LEAST_GAIN = 0.001
_LEAST_TEXTS = 5

METRICS: dict[str, Metric] = {
    f"scr_{kind}_threshold_{n}": Metric("higher", "", _PAPER, kind == "metric" and n in (10, 100), names)
    for n in N_VALUES
    for kind, names in {"dir1": (), "metric": names_at(n, "SCR", "spurious correlation removal"), "dir2": ()}.items()
}
_BIOS, _AMAZON = f"{hub_sets.BIOS}_class_set1", hub_sets.AMAZON


@dataclass(frozen=True)
class Settings(AblationSettings):
    """SAEBench's defaults. A pair names a set and two values of each of its labels: `SET: a / b, c / d`."""

    pairs: tuple[str, ...] = (
        f"{_BIOS}: professor / nurse, male / female",
        f"{_BIOS}: architect / journalist, male / female",
        f"{_BIOS}: surgeon / psychologist, male / female",
        f"{_BIOS}: attorney / teacher, male / female",
        f"{_AMAZON}: Books / CDs_and_Vinyl, 1.0 / 5.0",
        f"{_AMAZON}: Software / Electronics, 1.0 / 5.0",
        f"{_AMAZON}: Pet_Supplies / Office_Products, 1.0 / 5.0",
        f"{_AMAZON}: Industrial_and_Scientific / Toys_and_Games, 1.0 / 5.0",
    )


def _wanted(pair: str, settings: Settings) -> Wanted:
    """The four quadrants of a pair; of the two off the diagonal half as many texts are used."""
    name, _, labels = pair.rpartition(": ")
    values = [side.split(BETWEEN) for side in labels.split(", ")]
    if not name or [len(side) for side in values] != [2, 2]:
        raise LabError(f"evals.scr.pairs: {pair!r} must read 'SET: a / b, c / d'")
    quadrants = tuple(f"{first}{BETWEEN}{second}" for first in values[0] for second in values[1])
    return Wanted(
        name,
        settings.train_size,
        settings.test_size,
        settings.seed,
        settings.context_length,
        settings.skip_outliers,
        classes=quadrants,
        halved=quadrants[1:3],
    )


def data(ctx: Context, settings: Settings) -> str:
    """The texts of the pairs and their cutting."""
    return cache.fingerprint([_wanted(pair, settings).fingerprint for pair in settings.pairs])


def prepare(ctx: Context, settings: Settings) -> Setup:
    """Residuals of the pairs and three probes for each, from the cache when they are there.

    Raises:
        LabError: a set cannot be read or has too few texts, or a setting makes no sense.
    """
    sets = [pooled.prepare(ctx, _wanted(pair, settings)) for pair in settings.pairs]
    tasks = [_tasks(found, pair) for found, pair in zip(sets, settings.pairs)]
    return ablation.train(ctx, "scr", sys.modules[__name__], settings, sets, tasks)


def _tasks(found: Pooled, pair: str) -> Tasks:
    """Three tasks: the second label, the first label (each balanced in the other), and both at once, confounded."""
    first, second = pair.rpartition(": ")[2].split(", ")
    names = (second, first, f"{first} and {second}")
    return Tasks(names, *(_rows(side, found.wanted.name) for side in (found.train, found.test)))


def _rows(quadrants: tuple[Tensor, ...], name: str) -> Tensor:
    """[3, 4m] for the four quadrants' rows, which are in the order (a, c), (a, d), (b, c), (b, d)."""
    m = min(len(quadrants[0]) // 2, len(quadrants[3]) // 2, len(quadrants[1]), len(quadrants[2]))
    if m < _LEAST_TEXTS:
        raise LabError(f"{name}: a quadrant has {m} texts for training or testing, at least {_LEAST_TEXTS} are needed")
    ac, ad, bc, bd = (rows[:m] for rows in quadrants)
    confounded = torch.cat([quadrants[0][: 2 * m], quadrants[3][: 2 * m]])
    return torch.stack([torch.cat([ac, bc, ad, bd]), torch.cat([ac, ad, bc, bd]), confounded])


def score(ctx: Context, setup: Setup, sae: Artifact, settings: Settings) -> Scores:
    """Every metric of METRICS for one SAE; no model is run.

    Args:
        ctx: the call's context.
        setup: from `prepare`.
        sae: takes raw residuals; its decoder rows have norm 1.
        settings: those that `setup` was made with.
    """
    sizes = [n for n in settings.n_values if n <= sae.d_sae]
    pairs = {pair: _pair(ctx, trained, sae, sizes) for pair, trained in zip(settings.pairs, setup.sets)}
    columns = {name: [row[name] for row in pairs.values() if name in row] for name in METRICS}
    undefined = ablation.too_wide(METRICS, settings.n_values, sae.d_sae)
    for name in METRICS:
        if int(name.rpartition("_")[2]) in sizes and not columns[name]:
            undefined[name] = "the biased probe is as good in both directions, in every pair"
    metrics = {name: fmean(values) for name, values in columns.items() if values}
    return Scores(metrics, {"pairs": pairs, "undefined": undefined})


@torch.no_grad()
def _pair(ctx: Context, trained: Trained, sae: Artifact, sizes: list[int]) -> dict[str, float]:
    """The scores of one pair, and the accuracies they are made of."""
    ablated = Ablation(trained, pooled.latents(ctx, trained.pooled, sae), sae)
    before = ablated.accuracies(torch.zeros(0, dtype=torch.int64, device=sae.device), 0)
    found: dict[str, float] = {}
    for direction, spurious, wanted in ((1, 0, 1), (2, 1, 0)):
        clean, original = before[wanted, wanted].item(), before[2, wanted].item()
        found |= {f"clean_accuracy_dir{direction}": clean, f"original_accuracy_dir{direction}": original}
        difference, along = effects(ablated.latents, ablated.train[spurious], ablated.probe.weight[spurious], sae.W_dec)
        chosen = strongest((difference * along).abs(), max(sizes, default=0))
        for n in sizes:
            changed = ablated.accuracies(chosen, n)[2, wanted].item()
            gain = (changed - original) / (clean - original) if clean - original >= _LEAST_GAIN else 0.0
            found[f"scr_dir{direction}_threshold_{n}"] = gain
    worse = found["original_accuracy_dir2"] - found["original_accuracy_dir1"]
    if worse:
        for n in sizes:
            found[f"scr_metric_threshold_{n}"] = found[f"scr_dir{1 if worse > 0 else 2}_threshold_{n}"]
    return found
