"""Taking away the latents that matter most to a probe, and what the probe then says. `scr` and `tpp` share it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lab.errors import LabError
from lab.evals.base import Context
from lab.evals.pooled import Latents, Pooled
from lab.evals.probes import LinearProbe
from lab.evals.tasks import Tasks, Training, accuracy, train_probes

if TYPE_CHECKING:
    from lab.artifact import Artifact

N_VALUES = (2, 5, 10, 20, 50, 100, 500)
"""The numbers of latents that SAEBench takes away."""

_FILE = "probes.safetensors"
_WITHOUT_N = (10, 20, 100)  # any of these may be meant where a text gives no n


def names_at(n: int, *names: str) -> tuple[str, ...]:
    """Names of a score when n latents are taken away.

    Args:
        n: of `N_VALUES`.
        names: what the score is called.
    """
    long = [*names, *(f"{name} score" for name in names)]
    return (
        *(f"{name} {at}" for name in long for at in (f"at {n} latents", f"with {n} latents", f"at k={n}", f"(k={n})")),
        *(f"{name}@{n}" for name in names),
        *(names if n in _WITHOUT_N else ()),
    )


@dataclass(frozen=True)
class AblationSettings:
    """SAEBench's defaults, as `scr` and `tpp` share them.

    `train_size` and `test_size` count the texts of one balanced task, `context_length` the tokens kept of a text;
    `n_values` are numbers of latents to take away. `probe_*` train the probes on mean residuals. `skip_outliers` leaves
    massive activations out.
    """

    train_size: int = 4000
    test_size: int = 1000
    context_length: int = 128
    n_values: tuple[int, ...] = N_VALUES
    skip_outliers: bool = False
    seed: int = 42
    probe_batch_size: int = 16
    probe_epochs: int = 20
    probe_lr: float = 0.001
    probe_l1: float = 0.001


@dataclass(frozen=True)
class Trained:
    """A set, tasks over its texts, and a probe for each task."""

    pooled: Pooled
    tasks: Tasks
    probe: LinearProbe


@dataclass(frozen=True)
class Setup:
    """The set-up, which no SAE enters."""

    sets: tuple[Trained, ...]

    @property
    def d_model(self) -> int:
        """Width of the residuals."""
        return self.sets[0].pooled.d_model


def train(
    ctx: Context, name: str, module: Any, settings: AblationSettings, sets: Sequence[Pooled], tasks: Sequence[Tasks]
) -> Setup:
    """Train the probes of each set's tasks, or take them from the cache.

    Args:
        ctx: the call's context.
        name: the evaluation's.
        module: its module.
        settings: its settings.
        sets: with their residuals.
        tasks: those of each set.

    Raises:
        LabError: a setting makes no sense.
    """
    if wrong := set(settings.n_values) - set(N_VALUES):
        raise LabError(f"evals.{name}.n_values: {min(wrong)} is none of {', '.join(map(str, N_VALUES))}")
    if min(settings.probe_batch_size, settings.probe_epochs) < 1:
        raise LabError(f"evals.{name}: probe_batch_size and probe_epochs must be at least 1")
    how = Training(
        settings.probe_batch_size,
        settings.probe_epochs,
        settings.probe_lr,
        settings.probe_l1,
        patience=settings.probe_epochs,
    )

    def build(folder: Path) -> None:
        found: dict[str, Tensor] = {}
        for index, (pooled, own) in enumerate(zip(sets, tasks)):
            what = f"set-up of {name}: probes of {pooled.wanted.name}"
            probe, _ = train_probes(pooled.mean.to(ctx.device), own, how, settings.seed, what)
            found |= {f"weight.{index}": probe.weight.cpu(), f"bias.{index}": probe.bias.cpu()}
        save_file(found, folder / _FILE)

    fields = (field.name for field in dataclasses.fields(settings) if field.name != "n_values")
    found = load_file(ctx.cached(name, module, settings, fields, build) / _FILE)
    probes = [LinearProbe(found[f"weight.{i}"], found[f"bias.{i}"]) for i in range(len(sets))]
    return Setup(tuple(map(Trained, sets, tasks, probes)))


def too_wide(metrics: Iterable[str], n_values: Sequence[int], d_sae: int) -> dict[str, str]:
    """The metrics of more latents than an SAE has, with the reason that they are undefined."""
    numbers = {name: int(number) for name in metrics for number in name.split("_") if number.isdigit()}
    wide = (name for name, n in numbers.items() if n in n_values and n > d_sae)
    return dict.fromkeys(wide, f"the SAE has {d_sae} latents")


def strongest(effects: Tensor, most: int) -> Tensor:
    """The latents with the largest effects above zero, the largest first.

    Args:
        effects: [d_sae].
        most: how many are wanted; there may be fewer.
    """
    return effects.topk(min(most, int((effects > 0).sum()))).indices


def effects(latents: Latents, rows: Tensor, weight: Tensor, W_dec: Tensor) -> tuple[Tensor, Tensor]:
    """The two numbers whose product is what each latent does to a probe.

    Args:
        latents: of the set.
        rows: a task's training texts [2n], the positive ones first.
        weight: the probe's, [d_model].
        W_dec: [d_sae, d_model].

    Returns:
        The mean on the positives minus that on the negatives, and how far a decoder row moves the probe: [d_sae] each.
    """
    half = len(rows) // 2
    first, second = ((latents.total[part] / latents.count[part, None]).mean(0) for part in (rows[:half], rows[half:]))
    return first - second, W_dec @ weight


class Ablation:
    """The test texts of a set, the probes on them, and one SAE's latents.

    Args:
        trained: a set with its probes.
        latents: the SAE's, of that set.
        sae: the SAE.
    """

    def __init__(self, trained: Trained, latents: Latents, sae: Artifact) -> None:
        tasks, probe = trained.tasks, trained.probe
        self.latents = latents
        self.W_dec = sae.W_dec
        self.train = tasks.train.to(sae.device)
        self.probe = LinearProbe(probe.weight.to(sae.device), probe.bias.to(sae.device))
        self.rows, self.place = tasks.test.to(sae.device).unique(return_inverse=True)
        self.whole = trained.pooled.total.to(sae.device)[self.rows] @ self.probe.weight.T

    def accuracies(self, chosen: Tensor, size: int) -> Tensor:
        """Test accuracy of each probe on each task's texts, [probes, tasks], when latents are taken from them.

        Args:
            chosen: latents, the first to go first.
            size: how many are taken away; 0 for the clean accuracy.
        """
        taken = chosen[:size]
        moved = self.latents.everywhere(self.rows, taken) @ (self.W_dec[taken] @ self.probe.weight.T)
        logits = (self.whole - moved) / self.latents.count[self.rows, None] + self.probe.bias
        return torch.stack([accuracy(row[self.place], self.place) for row in logits.T])
