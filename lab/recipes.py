"""How each architecture is trained: which latents a batch has, and what is minimised beside the reconstruction.

A recipe is one small class over a module of `lab.architectures`; `lab.baselines` has the loop. They follow Marks et al.
2024, github.com/saprmarks/dictionary_learning. Activations have a mean square of 1 per coordinate, so a mean squared
error is the share of the second moment that is not explained.

Each reaches the L0 it is asked for in one run. TopK and BatchTopK have it by construction. The target of the others
falls from the L0 they start with to the one that is wanted within the first 30% of the run, so that no latent is
starved before it has learned anything: JumpReLU is drawn to it by its own loss, and the weight of the L1 penalty of
ReLU and Gated is steered towards it (a proportional and an integral term on log(L0 / target)), where it would else be
searched for over whole runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lab import sparse
from lab.architectures import Gated, Threshold, TopK

_FALL = 0.3  # share of the run in which the target falls
# Of steering. The integral acts within a share of the run, but not faster than Adam lets latents follow.
_FIRST_WEIGHT, _PROPORTIONAL, _INTEGRAL, _FASTEST = 0.01, 0.5, 15.0, 0.05
_AUX_COEFFICIENT = 1 / 32
_GROUPS = (1 / 32, 1 / 16, 1 / 8, 1 / 4)  # Matryoshka's inner groups; the last one is the rest
_CHUNK = 512


@dataclass
class Latents:
    """The latents of a batch: values [batch, k] of columns [batch, k], or [batch, d_sae] where columns is None.

    `pre` [batch, d_sae] are the pre-activations; `l0` is their mean number a token, a tensor of one element.
    """

    values: Tensor
    columns: Tensor | None
    pre: Tensor
    l0: Tensor

    def fired(self) -> Tensor:
        """[d_sae] bool: active anywhere in the batch."""
        active = self.values.detach() > 0
        if self.columns is None:
            return active.any(dim=0)
        return torch.zeros_like(self.pre[0]).index_add_(0, self.columns.flatten(), active.flatten().to(self.pre)) > 0


@dataclass
class Step:
    """What a loss may use: acts and error [batch, d_in], the latents, and how far the run is, in [0, 1).

    `idle` [d_sae] are the tokens since each latent was active; `any_dead` tells whether one was dead a few steps ago.
    """

    acts: Tensor
    error: Tensor
    latents: Latents
    progress: float
    idle: Tensor
    dead_after: float
    any_dead: bool


class Recipe:
    """What an architecture's training adds to the loop.

    Args:
        sae: trained in place.
        l0: wanted mean number of active latents.
        steps: of the run.
    """

    lr_factors: ClassVar[dict[str, float]] = {}  # of parameters that learn at another rate

    def __init__(self, sae: Any, l0: float, steps: int) -> None:
        self.sae = sae
        self.l0 = l0
        self.steps = steps

    def activate(self, x: Tensor) -> Latents:
        """The latents of activations [batch, d_in] in training."""
        raise NotImplementedError

    def reconstruct(self, latents: Latents) -> Tensor:
        """[batch, d_in]"""
        return sparse.combine(latents.values, latents.columns, self.sae.W_dec) + self.sae.b_dec

    def terms(self, step: Step) -> dict[str, Tensor]:
        """The terms of the loss, weighted; their sum is minimised."""
        return {"reconstruction": step.error.square().mean()}

    def finish(self, acts: Tensor) -> None:
        """Set what only inference needs, from activations [n, d_in] of the run's own data."""

    def pre_activations(self, x: Tensor) -> Tensor:
        """[batch, d_sae]"""
        return sparse.linear(x - self.sae.b_dec, self.sae.W_enc, self.sae.b_enc)


class TopKRecipe(Recipe):
    """Gao et al. 2024, arXiv:2406.04093, with the auxiliary loss of its appendix A.2."""

    sae: TopK

    def activate(self, x: Tensor) -> Latents:
        pre = self.pre_activations(x)
        values, columns = pre.topk(self.sae.k, dim=-1, sorted=False)
        return _latents(values.relu(), columns, pre)

    def terms(self, step: Step) -> dict[str, Tensor]:
        terms = super().terms(step)
        if step.any_dead:
            terms["auxiliary"] = _AUX_COEFFICIENT * self._auxiliary(step)
        return terms

    def _auxiliary(self, step: Step) -> Tensor:
        """Dead latents, those that were idle longest, learn what the others leave of the activations."""
        sae = self.sae
        idle, chosen = step.idle.topk(min(sae.W_dec.shape[1] // 2, len(step.idle)))
        pre = (step.acts - sae.b_dec) @ sae.W_enc.T[chosen].T + sae.b_enc[chosen]
        values = pre.relu() * (idle >= step.dead_after)
        target = step.error.detach()
        return (values @ sae.W_dec[chosen] - target).square().mean() / target.square().mean()


class BatchTopKRecipe(TopKRecipe):
    """Bussmann et al. 2024, arXiv:2412.06410: the largest pre-activations of the whole batch.

    The threshold of inference is set at the end to the one that gives the wanted L0 on the run's own data, where
    dictionary_learning keeps a running mean that a few hundred steps would not settle.
    """

    sae: Threshold  # type: ignore[assignment]

    def activate(self, x: Tensor) -> Latents:
        pre = self.pre_activations(x)
        edge = _largest(pre.detach().flatten(), round(self.l0 * len(x))).min()
        return _latents(pre.relu() * (pre >= edge), None, pre)

    @torch.no_grad()
    def finish(self, acts: Tensor) -> None:
        count = max(1, round(self.l0 * len(acts)))
        largest = acts.new_empty(0)
        for part in acts.split(_CHUNK):
            largest = _largest(torch.cat((largest, self.sae.pre_activations(part).flatten())), count)
        self.sae.threshold.fill_(float(largest.min().clamp(min=0)))


class MatryoshkaRecipe(BatchTopKRecipe):
    """Bussmann et al. 2025, arXiv:2503.17547: the first latents alone, and more and more of them, must reconstruct."""

    def terms(self, step: Step) -> dict[str, Tensor]:
        terms = super().terms(step)
        partial: Tensor = self.sae.b_dec
        errors, start = [step.error], 0
        for share in _GROUPS:
            group = slice(start, start + max(1, int(share * len(self.sae.b_enc))))
            partial = partial + sparse.combine(step.latents.values[:, group], None, self.sae.W_dec[group])
            errors.append(step.acts - partial)
            start = group.stop
        terms["reconstruction"] = torch.stack([error.square().mean() for error in errors]).mean()
        return terms


class Target:
    """The L0 that is wanted at each moment of the run, and how far the latents are from it.

    Args:
        l0: the L0 that is wanted in the end.
    """

    def __init__(self, l0: float) -> None:
        self.l0 = l0
        self._first: Tensor | None = None

    def now(self, l0: Tensor, progress: float) -> Tensor:
        """The target, a tensor of one element like `l0`, which in the first call is where it falls from."""
        if self._first is None:
            self._first = l0.detach().clamp(min=1e-3)
        return self.l0 * (self._first / self.l0) ** max(0.0, 1 - progress / _FALL)


class ReLURecipe(Recipe):
    """Bricken et al. 2023, transformer-circuits.pub: an L1 penalty, decoder rows of norm 1."""

    def __init__(self, sae: Any, l0: float, steps: int) -> None:
        super().__init__(sae, l0, steps)
        self._target = Target(l0)
        self._sum = torch.zeros((), device=sae.W_dec.device)

    def activate(self, x: Tensor) -> Latents:
        pre = self.pre_activations(x)
        return _latents(pre.relu(), None, pre)

    def terms(self, step: Step) -> dict[str, Tensor]:
        return {**super().terms(step), "sparsity": self._weight(step) * _l1(step.latents.values, step.acts.shape[1])}

    def _weight(self, step: Step) -> Tensor:
        """The penalty's weight; it is computed on the device, which is never waited for."""
        away = (step.latents.l0.clamp(min=1e-3) / self._target.now(step.latents.l0, step.progress)).log()
        self._sum = self._sum + min(_FASTEST, _INTEGRAL / self.steps) * away
        return _FIRST_WEIGHT * (self._sum + _PROPORTIONAL * away).clamp(-20, 20).exp()


class GatedRecipe(ReLURecipe):
    """Rajamanoharan et al. 2024, arXiv:2404.16014: the penalty is on the gates, which also reconstruct on their own.

    In that second reconstruction the decoder is a constant.
    """

    sae: Gated

    def activate(self, x: Tensor) -> Latents:
        pre = self.pre_activations(x)
        return _latents(self.sae.activate(pre), None, pre)

    def terms(self, step: Step) -> dict[str, Tensor]:
        gates = step.latents.pre.relu()
        alone = sparse.combine(gates, None, self.sae.W_dec.detach()) + self.sae.b_dec.detach()
        return {
            "reconstruction": step.error.square().mean(),
            "auxiliary": (step.acts - alone).square().mean(),
            "sparsity": self._weight(step) * _l1(gates, step.acts.shape[1]),
        }


class JumpReLURecipe(Recipe):
    """Rajamanoharan et al. 2024, arXiv:2407.14435, with the loss (L0 / target - 1)² of its appendix.

    Thresholds learn faster than the rest, and their gradient's kernel is wide, so that they arrive within a few hundred
    steps.
    """

    sae: Threshold
    lr_factors: ClassVar[dict[str, float]] = {"threshold": 5.0}
    coefficient: ClassVar[float] = 4.0

    def __init__(self, sae: Any, l0: float, steps: int) -> None:
        super().__init__(sae, l0, steps)
        self._target = Target(l0)
        self._width = sae.W_dec.shape[1] ** 0.5 / 24  # of the kernel, in parts of a token's norm
        sae.threshold.data.fill_(self._width)

    def activate(self, x: Tensor) -> Latents:
        pre = self.pre_activations(x)
        values, l0 = _Jump.apply(pre, self.sae.threshold, self._width)
        return Latents(values, None, pre, l0)

    def terms(self, step: Step) -> dict[str, Tensor]:
        l0 = step.latents.l0
        away = l0 / self._target.now(l0, step.progress) - 1
        return {**super().terms(step), "sparsity": self.coefficient * away.square()}

    @torch.no_grad()
    def finish(self, acts: Tensor) -> None:
        self.sae.threshold.clamp_(min=0)


RECIPES: dict[str, type[Recipe]] = {
    "topk": TopKRecipe,
    "batchtopk": BatchTopKRecipe,
    "matryoshka": MatryoshkaRecipe,
    "relu": ReLURecipe,
    "jumprelu": JumpReLURecipe,
    "gated": GatedRecipe,
}


def fresh(d_in: int, d_sae: int) -> dict[str, Tensor]:
    """Weights to start from: random unit directions, the encoder the decoder's transpose (Gao et al. 2024, A.1)."""
    W_dec = torch.nn.functional.normalize(torch.randn(d_sae, d_in), dim=1)
    zeros = {name: torch.zeros(d_sae) for name in ("b_enc", "threshold", "r_mag", "b_mag")}
    return {"W_dec": W_dec, "W_enc": W_dec.clone().T, "b_dec": torch.zeros(d_in), **zeros}


def _latents(values: Tensor, columns: Tensor | None, pre: Tensor) -> Latents:
    return Latents(values, columns, pre, (values.detach() > 0).sum() / len(values))


def _l1(latents: Tensor, d_in: int) -> Tensor:
    """Mean over tokens of the sum of latents, in parts of the norm √d_in of a token of mean square 1."""
    return latents.sum(dim=-1).mean() / d_in**0.5


def _largest(values: Tensor, count: int) -> Tensor:
    return values.topk(min(max(count, 1), len(values)), sorted=False).values


class _Jump(torch.autograd.Function):
    """Latents above their thresholds and their L0, with the estimated gradients of arXiv:2407.14435, section 3."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, width: float) -> tuple[Tensor, Tensor]:
        active = pre > threshold.clamp(min=0)
        ctx.save_for_backward(pre, threshold, active)
        ctx.width = width
        return pre * active, active.sum() / len(pre)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_values: Tensor, grad_l0: Tensor) -> tuple[Tensor, Tensor, None]:
        pre, threshold, active = ctx.saved_tensors
        near = (pre - threshold).abs() < ctx.width / 2
        from_values = -(threshold / ctx.width) * (near * grad_values).sum(dim=0, dtype=threshold.dtype)
        from_l0 = -grad_l0 / (ctx.width * len(pre)) * near.sum(dim=0, dtype=threshold.dtype)
        return grad_values * active, from_values + from_l0, None
