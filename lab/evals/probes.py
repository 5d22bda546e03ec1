"""Linear probes that several evaluations share: torch one-vs-rest probes and exact small logistic regressions."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lab.progress import track


@dataclass(frozen=True)
class LinearProbe:
    """One logistic regression a class. ``weight``: [classes, d], ``bias``: [classes]."""

    weight: Tensor
    bias: Tensor

    def logits(self, x: Tensor) -> Tensor:
        """Log odds [n, classes] of inputs [n, d]."""
        return x @ self.weight.T + self.bias


def train_probe(
    x: Tensor,
    labels: Tensor,
    classes: int,
    *,
    seed: int,
    batch_size: int,
    epochs: int = 50,
    lr: float = 1e-2,
    end_lr: float = 1e-5,
    weight_decay: float = 0.0,
    l1: float = 0.0,
    zero_start: bool = False,
    what: str = "",
) -> LinearProbe:
    """Train one-vs-rest logistic regressions together, with Adam and an exponentially decaying step.

    The loss is binary cross-entropy with positives weighted by (negatives / positives) of each class, plus
    ``l1`` times the mean over classes of the weights' L1 norm. A class without a positive gets weight 1. Which inputs
    share a batch is drawn once, the order of the batches anew each epoch. Gradients are written out, so sparse inputs
    cost what their nonzeros cost.

    Args:
        x: inputs [n, d], float32, dense or in CSR layout.
        labels: class of each input [n], int64.
        classes: how many classes there are.
        seed: seed of the initial weights and of the batches.
        zero_start: whether all weights start at 0 instead of at random.
        batch_size: inputs a step.
        epochs: passes over the inputs; the step size falls from ``lr`` to ``end_lr`` over them.
        lr: first step size.
        end_lr: last step size.
        weight_decay: Adam's L2 term.
        l1: weight of the L1 penalty; above 0 it makes the probe choose few inputs.
        what: the step in words, for its progress bar; "" shows none.

    Returns:
        The trained probe, on the device of ``x``.
    """
    generator = torch.Generator().manual_seed(seed)
    bound = 1 / math.sqrt(x.shape[1])
    start = (torch.rand(x.shape[1] + 1, classes, generator=generator) * 2 - 1) * (0.0 if zero_start else bound)
    weight, bias = start[:-1].contiguous().to(x.device), start[-1].contiguous().to(x.device)
    targets = nn.functional.one_hot(labels.to(x.device), classes).to(x.dtype)
    positives = targets.sum(0)
    pull = torch.where(positives > 0, (len(targets) - positives) / positives.clamp(min=1), 1.0)
    order = torch.randperm(len(targets), generator=generator)
    batches = [(*_with_transpose(x, rows), targets[rows]) for rows in order.to(x.device).split(batch_size)]
    steps = [_Adam(weight, weight_decay), _Adam(bias, weight_decay)]
    for epoch in track(range(epochs), what) if what else range(epochs):
        rate = lr * (end_lr / lr) ** (epoch / epochs)
        for index in torch.randperm(len(batches), generator=generator).tolist():
            rows, columns, target = batches[index]
            p = torch.sigmoid(rows @ weight + bias)
            error = (p * (1 - target) - pull * target * (1 - p)) / target.numel()
            gradient = columns @ error
            if l1:
                gradient += l1 / classes * weight.sign()
            steps[0].step(gradient, rate)
            steps[1].step(error.sum(0), rate)
    return LinearProbe(weight.T.contiguous(), bias)


class _Adam:
    """Adam on one tensor, in place. torch's own loads its compiler at the first step, which takes seconds."""

    def __init__(self, value: Tensor, weight_decay: float, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self.value = value
        self.weight_decay = weight_decay
        self.betas = betas
        self.mean, self.square = torch.zeros_like(value), torch.zeros_like(value)
        self.count = 0

    def step(self, gradient: Tensor, rate: float) -> None:
        self.count += 1
        gradient = gradient.add(self.value, alpha=self.weight_decay)
        self.mean.lerp_(gradient, 1 - self.betas[0])
        self.square.lerp_(gradient.square(), 1 - self.betas[1])
        first, second = (1 - beta**self.count for beta in self.betas)
        self.value.addcdiv_(self.mean, (self.square / second).sqrt_().add_(1e-8), value=-rate / first)


def rows_of(x: Tensor, rows: Tensor) -> Tensor:
    """Some rows [n] of a matrix in CSR layout, in CSR layout."""
    starts, ends = x.crow_indices()[rows], x.crow_indices()[rows + 1]
    counts = ends - starts
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    each = torch.arange(int(offsets[-1]), device=x.device)
    place = each + (starts - offsets[:-1]).repeat_interleave(counts)
    return csr(offsets, x.col_indices()[place], x.values()[place], (len(rows), x.shape[1]))


def _with_transpose(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Some rows of x, and their transpose; both in CSR layout where x is."""
    if x.layout != torch.sparse_csr:
        part = x[rows]
        return part, part.T
    part = rows_of(x, rows)
    columns, values = part.col_indices(), part.values()
    counts = part.crow_indices().diff()
    by_column = columns.argsort(stable=True)
    row_of = torch.arange(len(rows), device=x.device).repeat_interleave(counts)
    per_column = torch.bincount(columns, minlength=x.shape[1])
    column_offsets = torch.cat([per_column.new_zeros(1), per_column.cumsum(0)])
    transposed = csr(column_offsets, row_of[by_column], values[by_column], (x.shape[1], len(rows)))
    return part, transposed


def csr(offsets: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    """A sparse matrix [rows, columns] from each row's offset [rows + 1], and column and value of each nonzero."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(offsets, columns, values, size, check_invariants=False)


def stack_sparse(parts: Iterable[Tensor]) -> Tensor:
    """Dense [n, d] parts, one after the other, as one matrix in CSR layout; only one part is dense at a time."""
    counts, columns, values, width = [], [], [], 0
    for part in parts:
        row, column = part.nonzero(as_tuple=True)
        counts.append(torch.bincount(row, minlength=len(part)))
        columns.append(column)
        values.append(part[row, column])
        width = part.shape[1]
    each = torch.cat(counts)
    offsets = torch.cat([each.new_zeros(1), each.cumsum(0)])
    return csr(offsets, torch.cat(columns), torch.cat(values), (len(each), width))


def _objective(x: Tensor, y: Tensor, s: Tensor, w: Tensor) -> Tensor:
    """Penalised loss [p] of the weights [p, k+1] (the last is the intercept, which is not penalised)."""
    z = torch.einsum("pnk,pk->pn", x, w)
    return 0.5 * w[:, :-1].square().sum(1) + (s * (nn.functional.softplus(z) - y * z)).sum(1)


def fit_logistic(x: Tensor, y: Tensor, *, tolerance: float = 1e-8, max_steps: int = 100) -> LinearProbe:
    """Fit many small logistic regressions at once, to the optimum, by Newton's method with halved steps.

    The problem is that of sklearn's ``LogisticRegression(C=1, class_weight="balanced")``: L2 penalty 1/2 on the
    weights but not on the intercept, and classes weighted by n / (2 * count). It is convex, so the answer does not
    depend on the method.

    Args:
        x: inputs [problems, n, k].
        y: which inputs are positive [problems, n], bool.
        tolerance: stop when no problem's squared Newton decrement is above this.
        max_steps: at most so many Newton steps.

    Returns:
        A probe with weight [problems, k] and bias [problems], float64.
    """
    x = torch.cat([x.double(), torch.ones_like(x[..., :1], dtype=torch.float64)], dim=-1)
    t = y.double()
    n = x.shape[1]
    positives = t.sum(1, keepdim=True).clamp(min=1)
    negatives = (1 - t).sum(1, keepdim=True).clamp(min=1)
    s = torch.where(y, n / (2 * positives), n / (2 * negatives))
    penalty = torch.ones(x.shape[-1], dtype=torch.float64, device=x.device)
    penalty[-1] = 0
    ridge = torch.diag(penalty.clamp(min=1e-9))
    w = torch.zeros(x.shape[0], x.shape[-1], dtype=torch.float64, device=x.device)
    loss = _objective(x, t, s, w)
    for _ in range(max_steps):
        p = torch.sigmoid(torch.einsum("pnk,pk->pn", x, w))
        gradient = torch.einsum("pnk,pn->pk", x, s * (p - t)) + penalty * w
        hessian = (x * (s * p * (1 - p)).unsqueeze(-1)).transpose(1, 2) @ x + ridge
        step = torch.linalg.solve(hessian, gradient.unsqueeze(-1)).squeeze(-1)
        decrement = (gradient * step).sum(1)
        if decrement.max().item() < tolerance:
            break
        scale = torch.ones_like(loss)
        for _ in range(30):
            trial = w - scale.unsqueeze(1) * step
            trial_loss = _objective(x, t, s, trial)
            worse = trial_loss > loss - 1e-4 * scale * decrement + 1e-12 * loss.abs()
            if not worse.any():
                break
            scale = torch.where(worse, scale / 2, scale)
        better = trial_loss < loss
        w = torch.where(better.unsqueeze(1), trial, w)
        loss = torch.where(better, trial_loss, loss)
        if not better.any():
            break
    return LinearProbe(w[:, :-1], w[:, -1])


def f1_score(predicted: Tensor, true: Tensor) -> Tensor:
    """F1 over dimension 0 of two bool tensors [n, ...]; 0 where nothing is predicted and nothing is true."""
    hits = (predicted & true).sum(0).double()
    total = predicted.sum(0) + true.sum(0)
    return 2 * hits / total.clamp(min=1)
