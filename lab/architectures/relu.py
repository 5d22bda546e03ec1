"""ReLU: every positive pre-activation is kept, and an L1 penalty keeps them few.

Bricken et al. 2023, transformer-circuits.pub.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lab.architectures.base import SAE, Architecture
from lab.recipes import Latents, Recipe, Step, Target, l1

# Of steering. The integral acts within a share of the run, but not faster than Adam lets latents follow.
_FIRST_WEIGHT, _PROPORTIONAL, _INTEGRAL, _FASTEST = 0.01, 0.5, 15.0, 0.05


class ReLU(SAE):
    """Every positive pre-activation is kept."""

    def activate(self, pre: Tensor) -> Tensor:
        return pre.relu()


class ReLURecipe(Recipe):
    """An L1 penalty whose weight is steered, decoder rows of norm 1."""

    def __init__(self, sae: Any, l0: float, steps: int) -> None:
        super().__init__(sae, l0, steps)
        self._target = Target(l0)
        self._sum = torch.zeros((), device=sae.W_dec.device)

    def activate(self, x: Tensor) -> Latents:
        pre = self.pre_activations(x)
        return Latents.of(pre.relu(), None, pre)

    def terms(self, step: Step) -> dict[str, Tensor]:
        return {**super().terms(step), "sparsity": self.weight(step) * l1(step.latents.values, step.acts.shape[1])}

    def weight(self, step: Step) -> Tensor:
        """The penalty's weight; it is computed on the device, which is never waited for."""
        away = (step.latents.l0.clamp(min=1e-3) / self._target.now(step.latents.l0, step.progress)).log()
        self._sum = self._sum + min(_FASTEST, _INTEGRAL / self.steps) * away
        return _FIRST_WEIGHT * (self._sum + _PROPORTIONAL * away).clamp(-20, 20).exp()


ARCHITECTURE = Architecture(
    ReLU, ReLURecipe, sae_lens="standard", dictionary_learning={"AutoEncoder": True, "AutoEncoderNew": False}
)
