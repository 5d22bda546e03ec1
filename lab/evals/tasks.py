"""Two-class tasks over a set's texts, and probes for them, trained as SAEBench trains them but all at once.

The tasks of a set have equally many texts, half of them positive, so that their probes are trained in one loop on
stacked tensors. Each probe's own course (its batches, its best epoch, when it stops) is as if it were alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lab.errors import LabError
from lab.evals.pooled import Pooled
from lab.evals.probes import LinearProbe
from lab.progress import track

_DECAY, _BETAS, _EPSILON = 0.01, (0.9, 0.999), 1e-8  # torch.optim.AdamW's defaults


@dataclass(frozen=True)
class Tasks:
    """P tasks. `train` [P, 2n] and `test` [P, 2m] are rows among a set's texts; the first half of each is positive."""

    names: tuple[str, ...]
    train: Tensor
    test: Tensor


@dataclass(frozen=True)
class Training:
    """The training of `train_probes`: AdamW (decay 0.01) on binary cross-entropy plus `l1` times the weights' L1 norm.

    The epoch with the best test accuracy is kept; after `patience` epochs without a better one a probe stops."""

    batch_size: int
    epochs: int
    lr: float
    l1: float
    patience: int


def positive(rows: Tensor) -> Tensor:
    """The rows of tasks [..., 2n] that are positive, bool, likewise."""
    half = rows.shape[-1] // 2
    return (torch.arange(rows.shape[-1], device=rows.device) < half).expand(rows.shape)


def one_vs_rest(pooled: Pooled, seed: int) -> Tasks:
    """A task for each class. Its negatives are drawn from the other classes, equally many from each, by seed.

    Raises:
        LabError: a class has no text left.
    """
    generator = torch.Generator().manual_seed(seed)
    sides = [_one_vs_rest(pooled, rows, generator) for rows in (pooled.train, pooled.test)]
    return Tasks(pooled.classes, *sides)


def _one_vs_rest(pooled: Pooled, classes: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    size = min(map(len, classes))
    if not size:
        raise LabError(f"{pooled.wanted.name}: a class has no text with a token that counts: use another set")
    found = []
    for index, rows in enumerate(classes):
        others = [other[:size] for place, other in enumerate(classes) if place != index]
        each = math.ceil(size / len(others))
        drawn = torch.cat([other[torch.randperm(size, generator=generator)[:each]] for other in others])
        found.append(torch.cat([rows[:size], drawn[torch.randperm(len(drawn), generator=generator)[:size]]]))
    return torch.stack(found)


def accuracy(logits: Tensor, rows: Tensor) -> Tensor:
    """Share of right answers, [P] float64.

    Args:
        logits: [P, 2m]; above 0 says positive.
        rows: those of the tasks, [P, 2m].
    """
    return ((logits > 0) == positive(rows)).double().mean(1)


def logits_of(probe: LinearProbe, x: Tensor, rows: Tensor) -> Tensor:
    """Each probe's log odds of its own task's texts: [P, 2m] for x [N, d] and rows [P, 2m]."""
    return probe.logits(x).T.gather(1, rows)


def train_probes(x: Tensor, tasks: Tasks, how: Training, seed: int, what: str = "") -> tuple[LinearProbe, Tensor]:
    """Train a probe for each task. Weights start as torch.nn.Linear's: with few texts they never leave it far behind.

    Args:
        x: inputs of all texts, [N, d] float32.
        tasks: P tasks, on any device.
        how: see there.
        seed: of the first weights and of the batches.
        what: the step in words, for its progress bar; "" shows none.

    Returns:
        The best probes (weight [P, d], bias [P]) and their test accuracies [P] float64, on the device of x.
    """
    generator = torch.Generator().manual_seed(seed)
    train, test = tasks.train.to(x.device), tasks.test.to(x.device)
    used, test_place = test.unique(return_inverse=True)
    x_test = x[used]
    best = LinearProbe(x.new_zeros(len(train), x.shape[1]), x.new_zeros(len(train)))
    best_accuracy = torch.zeros(len(train), dtype=torch.float64, device=x.device)
    live = torch.arange(len(train), device=x.device)
    waited = torch.zeros_like(live)
    start = torch.rand(len(train), x.shape[1] + 1, generator=generator) * 2 - 1
    adam = _AdamW(start.to(x.device) / math.sqrt(x.shape[1]), how)
    for _ in track(range(how.epochs), what) if what else range(how.epochs):
        order = torch.stack([torch.randperm(train.shape[1], generator=generator) for _ in train]).to(x.device)[live]
        for batch in order.split(how.batch_size, dim=1):
            adam.step(x[train[live].gather(1, batch)], batch < train.shape[1] // 2)
        probe = adam.probe
        found = accuracy(logits_of(probe, x_test, test_place[live]), test[live])
        better = found > best_accuracy[live]
        best.weight[live[better]], best.bias[live[better]] = probe.weight[better], probe.bias[better]
        best_accuracy[live] = torch.where(better, found, best_accuracy[live])
        waited[live] = torch.where(better, 0, waited[live] + 1)
        going = waited[live] < how.patience
        if not going.any():
            break
        if not going.all():
            live = live[going]
            adam.keep(going)
    return best, best_accuracy


class _AdamW:
    """AdamW on P probes [P, d + 1], the bias last. torch's own loads its compiler at the first step: seconds."""

    def __init__(self, start: Tensor, how: Training) -> None:
        self.how = how
        self.value, self.first, self.second = start, torch.zeros_like(start), torch.zeros_like(start)
        self.count = 0

    def keep(self, which: Tensor) -> None:
        """Go on with some of the probes only."""
        self.value, self.first, self.second = (part[which] for part in (self.value, self.first, self.second))

    @property
    def probe(self) -> LinearProbe:
        """The values as probes."""
        return LinearProbe(self.value[:, :-1], self.value[:, -1])

    def step(self, x: Tensor, y: Tensor) -> None:
        """One step on batches x [P, B, d] with answers y [P, B]."""
        self.count += 1
        logits = torch.bmm(x, self.value[:, :-1, None]).squeeze(-1) + self.value[:, -1:]
        error = (torch.sigmoid(logits) - y.to(x.dtype)) / x.shape[1]
        weight = torch.bmm(error[:, None], x).squeeze(1)
        if self.how.l1:
            weight.add_(self.value[:, :-1].sign(), alpha=self.how.l1)
        gradient = torch.cat([weight, error.sum(1, keepdim=True)], dim=1)
        self.value.mul_(1 - self.how.lr * _DECAY)
        self.first.lerp_(gradient, 1 - _BETAS[0])
        self.second.lerp_(gradient.square(), 1 - _BETAS[1])
        first, second = (1 - beta**self.count for beta in _BETAS)
        self.value.addcdiv_(self.first, (self.second / second).sqrt_().add_(_EPSILON), value=-self.how.lr / first)
