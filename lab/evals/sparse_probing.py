"""Sparse probing: how much of a concept do the few latents know that tell its texts apart best?

The names, definitions and defaults are those of SAEBench 0.6.0 (Karvonen et al. 2025, arXiv:2503.09532), which follow
Gurnee et al. 2023 (arXiv:2305.01610). Each class of a set is told from the other classes of the set. A text is the mean
of its latents (or residuals) over its first `context_length` tokens, special tokens left out. The k latents with the
largest |difference of class means| on the training texts enter a logistic regression (L2, C = 1), whose accuracy on the
test texts is averaged over classes, then over sets. ``sae_test_accuracy`` is that of a probe on all latents, and
``llm_*`` are the same on residuals: they depend on no SAE and are set-up.

SAEBench's quirks that are kept, so that numbers compare:
- the probe on all latents keeps the epoch that is best on the test texts, so its accuracy is a little too high;
- negatives are drawn from the other classes, equally many from each, as many as there are positives;
- the small regressions are scikit-learn's, on unscaled float32: on inputs of a hundred and more, as residuals with
  massive activations have, its solver stops well before the optimum, and ``llm_top_k`` suffers.

What differs, by choice:
- Seeds are fixed: one draw of negatives serves every probe of a class, and probes on all latents start from one seed,
  so two calls agree. SAEBench draws anew for each probe from the process's generator.
- The probes of a set are trained together. Residuals are pooled in float32, and the SAE runs in float32.
- With `skip_outliers` (the embedded profile) position 0 and massive activations are left out, as they are in training.
- The embedded profile takes sets of `sae-probes` instead of the hub's eight, with fewer texts of each class.
"""

from __future__ import annotations

import dataclasses
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lab import cache, hub_sets
from lab.errors import LabError
from lab.evals import pooled
from lab.evals.base import Context, Scores
from lab.evals.metric import Metric
from lab.evals.pooled import Pooled, Wanted
from lab.evals.tasks import Tasks, Training, one_vs_rest, positive, train_probes

if TYPE_CHECKING:
    from lab.artifact import Artifact

_PAPER = "arXiv:2503.09532"
_FILE = "llm.json"
_K_VALUES = (1, 2, 5, 10, 20, 50, 100)

_ON_ALL = ("probing accuracy on all latents", "probing accuracy with all latents", "SAE probing accuracy")


def _names(k: int) -> tuple[str, ...]:
    """The names of the accuracy of a probe on k latents; without a k, that on one is meant."""
    plain = ("sparse probing", "sparse probing accuracy", "probing accuracy")
    return (
        *(f"{before} {name}" for before in (f"top-{k}", f"k={k}", f"{k}-sparse") for name in plain),
        *(f"{name} {behind}" for name in plain for behind in (f"at k={k}", f"(k={k})", f"with {k} latents")),
        *(plain if k == 1 else ()),
    )


METRICS: dict[str, Metric] = {
    "llm_test_accuracy": Metric(None, "", _PAPER, of_sae=False),
    **{f"llm_top_{k}_test_accuracy": Metric(None, "", _PAPER, of_sae=False) for k in _K_VALUES},
    "sae_test_accuracy": Metric("higher", "", _PAPER, headline=True, names=_ON_ALL),
    **{f"sae_top_{k}_test_accuracy": Metric("higher", "", _PAPER, k in (1, 5), _names(k)) for k in _K_VALUES},
}


@dataclass(frozen=True)
class Settings:
    """SAEBench's defaults.

    `sets` are names as `lab.labelled` has them; `train_size` and `test_size` count the texts of one balanced task;
    `k_values` may also hold 10, 20, 50 and 100. `probe_*` and `patience` train the probes on all latents or residuals.
    """

    sets: tuple[str, ...] = hub_sets.NAMES
    train_size: int = 4000
    test_size: int = 1000
    context_length: int = 128
    k_values: tuple[int, ...] = (1, 2, 5)
    skip_outliers: bool = False
    seed: int = 42
    probe_batch_size: int = 250
    probe_epochs: int = 100
    probe_lr: float = 0.01
    patience: int = 10


@dataclass(frozen=True)
class Setup:
    """The set-up: the sets, their tasks, and for each set and ``llm_*`` metric each class's accuracy."""

    sets: tuple[Pooled, ...]
    tasks: tuple[Tasks, ...]
    llm: dict[str, dict[str, dict[str, float]]]

    @property
    def d_model(self) -> int:
        """Width of the residuals."""
        return self.sets[0].d_model


def _wanted(settings: Settings) -> list[Wanted]:
    sizes = (settings.train_size, settings.test_size, settings.seed, settings.context_length, settings.skip_outliers)
    return [Wanted(name, *sizes) for name in settings.sets]


def data(ctx: Context, settings: Settings) -> str:
    """The texts of the sets and their cutting."""
    return cache.fingerprint([wanted.fingerprint for wanted in _wanted(settings)])


def prepare(ctx: Context, settings: Settings) -> Setup:
    """Residuals of the sets, and how well residuals themselves do, from the cache when they are there.

    Raises:
        LabError: a set cannot be read, or a setting makes no sense.
    """
    if wrong := set(settings.k_values) - set(_K_VALUES):
        raise LabError(f"evals.sparse_probing.k_values: {min(wrong)} is none of {', '.join(map(str, _K_VALUES))}")
    if min(settings.probe_batch_size, settings.probe_epochs, settings.patience) < 1:
        raise LabError("evals.sparse_probing: probe_batch_size, probe_epochs and patience must be at least 1")
    sets = tuple(pooled.prepare(ctx, wanted) for wanted in _wanted(settings))
    tasks = tuple(one_vs_rest(found, settings.seed) for found in sets)

    def build(folder: Path) -> None:
        rows = [
            _accuracies("llm", found.mean.to(ctx.device), task, settings, f"set-up: probes on {found.wanted.name}")
            for found, task in zip(sets, tasks)
        ]
        cache.write_json(folder / _FILE, dict(zip(settings.sets, rows)))

    fields = (field.name for field in dataclasses.fields(settings))
    folder = ctx.cached("sparse_probing", sys.modules[__name__], settings, fields, build)
    return Setup(sets, tasks, cache.read_json(folder / _FILE))


def score(ctx: Context, setup: Setup, sae: Artifact, settings: Settings) -> Scores:
    """Every metric of METRICS for one SAE; no model is run.

    Args:
        ctx: the call's context.
        setup: from `prepare`.
        sae: takes raw residuals.
        settings: those that `setup` was made with.
    """
    classes = {}
    for found, task in zip(setup.sets, setup.tasks):
        mean = pooled.latents(ctx, found, sae).mean
        name = found.wanted.name
        what = f"scoring: probes on latents of {name}"
        classes[name] = {**setup.llm[name], **_accuracies("sae", mean, task, settings, what)}
    metrics = {
        name: fmean(fmean(rows[name].values()) for rows in classes.values())
        for name in METRICS
        if name in next(iter(classes.values()))
    }
    details: dict[str, Any] = {
        "classes": classes,
        "texts": {found.wanted.name: len(found.count) for found in setup.sets},
        "tokens": sum(len(found.resid) for found in setup.sets),
        "undefined": {},
    }
    return Scores(metrics, details)


def _accuracies(who: str, x: Tensor, tasks: Tasks, settings: Settings, what: str) -> dict[str, dict[str, float]]:
    """Test accuracy of each class for probes on all inputs [N, d] and on the best k of them, by metric."""
    how = Training(settings.probe_batch_size, settings.probe_epochs, settings.probe_lr, 0.0, settings.patience)
    _, whole = train_probes(x, tasks, how, settings.seed, what)
    found = {f"{who}_test_accuracy": whole}
    best = best_inputs(x, tasks.train, max(settings.k_values))
    x_train, x_test = (x[rows.to(x.device)[..., None], best[:, None]].cpu() for rows in (tasks.train, tasks.test))
    for k in settings.k_values:
        rows = zip(x_train[..., :k], positive(tasks.train), x_test[..., :k], positive(tasks.test))
        found[f"{who}_top_{k}_test_accuracy"] = torch.tensor([_regression(*row) for row in rows])
    return {name: dict(zip(tasks.names, values.tolist())) for name, values in found.items()}


def _regression(x: Tensor, y: Tensor, x_test: Tensor, y_test: Tensor) -> float:
    """Test accuracy of scikit-learn's logistic regression on [n, k]; where its solver stops enters the score."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe = LogisticRegression(max_iter=1000).fit(x.numpy(), y.numpy())
    return float(probe.score(x_test.numpy(), y_test.numpy()))


def best_inputs(x: Tensor, train: Tensor, k: int) -> Tensor:
    """The inputs whose class means differ most, the best first: [P, k] for x [N, d] and training rows [P, 2n]."""
    half = train.shape[1] // 2
    differences = [x[rows[:half]].mean(0) - x[rows[half:]].mean(0) for rows in train.to(x.device)]
    return torch.stack(differences).abs().topk(min(k, x.shape[1])).indices
