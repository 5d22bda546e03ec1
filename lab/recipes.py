"""Parts of an architecture's training: the latents of a batch, the terms of the loss, a falling target.

A recipe says which latents a batch has and what is minimised beside the reconstruction: one small class in each module
of `lab.architectures`; `lab.baselines` has the loop. They follow Marks et al. 2024,
github.com/saprmarks/dictionary_learning. Activations have a mean square of 1 per coordinate, so a mean squared
error is the share of the second moment that is not explained.

Each reaches the L0 it is asked for in one run. TopK and BatchTopK have it by construction. The target of the others
falls from the L0 they start with to the one that is wanted within the first 30% of the run, so that no latent is
starved before it has learned anything: JumpReLU is drawn to it by its own loss, and the weight of the L1 penalty of
ReLU and Gated is steered towards it (a proportional and an integral term on log(L0 / target)), where it would else be
searched for over whole runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from lab import sparse

_FALL = 0.3  # share of the run in which the target falls


@dataclass
class Latents:
    """The latents of a batch: values [batch, k] of columns [batch, k], or [batch, d_sae] where columns is None.

    `pre` [batch, d_sae] are the pre-activations; `l0` is their mean number a token, a tensor of one element.
    """

    values: Tensor
    columns: Tensor | None
    pre: Tensor
    l0: Tensor

    @classmethod
    def of(cls, values: Tensor, columns: Tensor | None, pre: Tensor) -> Latents:
        """Latents whose L0 is the number of the positive ones."""
        return cls(values, columns, pre, (values.detach() > 0).sum() / len(values))

    def fired(self) -> Tensor:
        """[d_sae] bool: active anywhere in the batch."""
        active = self.values.detach() > 0
        if self.columns is None:
            return active.any(dim=0)
        return torch.zeros_like(self.pre[0]).index_add_(0, self.columns.flatten(), active.flatten().to(self.pre)) > 0


@dataclass
class Step:
    """The values that a loss may use: acts and error [batch, d_in], the latents, and the share of the run, in [0, 1).

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
    """The part of an architecture's training that is added to the loop.

    Args:
        sae: trained in place.
        l0: wanted mean number of active latents.
        steps: of the run.
    """

    lr_factors: ClassVar[dict[str, float]] = {}  # of parameters that learn at another rate
    whole_l0: ClassVar[bool] = False  # whether only a whole number can be had

    def __init__(self, sae: Any, l0: float, steps: int) -> None:
        self.sae = sae
        self.l0 = l0
        self.steps = steps

    def activate(self, x: Tensor) -> Latents:
        """The latents of activations [batch, d_in] in training."""
        raise NotImplementedError

    def reconstruct(self, latents: Latents) -> Tensor:
        """[batch, d_in]"""
        found: Tensor = sparse.combine(latents.values, latents.columns, self.sae.W_dec) + self.sae.b_dec
        return found

    def terms(self, step: Step) -> dict[str, Tensor]:
        """The terms of the loss, weighted; their sum is minimised."""
        return {"reconstruction": step.error.square().mean()}

    def finish(self, acts: Tensor) -> None:
        """Set what only inference needs, from activations [n, d_in] of the run's own data."""

    def pre_activations(self, x: Tensor) -> Tensor:
        """[batch, d_sae]"""
        return sparse.linear(x - self.sae.b_dec, self.sae.W_enc, self.sae.b_enc)


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


def fresh(d_in: int, d_sae: int, needs: Iterable[str] = ()) -> dict[str, Tensor]:
    """Weights to start from: random unit directions, the encoder the decoder's transpose (Gao et al. 2024, A.1).

    Args:
        d_in: width of the residual stream.
        d_sae: number of latents.
        needs: names of further weights [d_sae], which start at 0.
    """
    W_dec = torch.nn.functional.normalize(torch.randn(d_sae, d_in), dim=1)
    zeros = {name: torch.zeros(d_sae) for name in ("b_enc", *needs)}
    return {"W_dec": W_dec, "W_enc": W_dec.clone().T, "b_dec": torch.zeros(d_in), **zeros}


def l1(latents: Tensor, d_in: int) -> Tensor:
    """Mean over tokens of the sum of latents, in parts of the norm √d_in of a token of mean square 1."""
    found: Tensor = latents.sum(dim=-1).mean() / d_in**0.5
    return found
