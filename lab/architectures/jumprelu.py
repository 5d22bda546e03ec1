"""JumpReLU: pre-activations above each latent's threshold are kept, and the thresholds are learned.

Rajamanoharan et al. 2024, arXiv:2407.14435, with the loss (L0 / target - 1)² of its appendix.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lab.architectures.base import SAE, Architecture
from lab.recipes import Latents, Recipe, Step, Target


class JumpReLU(SAE):
    """Pre-activations above each latent's threshold are kept; BatchTopK and Matryoshka are this at inference, too."""

    needs = ("threshold",)

    threshold: nn.Parameter

    def activate(self, pre: Tensor) -> Tensor:
        return pre.relu() * (pre > self.threshold)


class JumpReLURecipe(Recipe):
    """The L0 is drawn to its target by the loss.

    Thresholds learn faster than the rest, and their gradient's kernel is wide, so that they arrive within a few hundred
    steps.
    """

    sae: JumpReLU
    lr_factors: ClassVar[dict[str, float]] = {"threshold": 5.0}
    coefficient: ClassVar[float] = 4.0

    def __init__(self, sae: Any, l0: float, steps: int) -> None:
        super().__init__(sae, l0, steps)
        self._target = Target(l0)
        self._width = sae.W_dec.shape[1] ** 0.5 / 24  # of the kernel, in parts of a token's norm
        sae.threshold.data.fill_(self._width)

    def activate(self, x: Tensor) -> Latents:
        pre = self.pre_activations(x)
        values, l0 = Jump.apply(pre, self.sae.threshold, self._width)  # type: ignore[no-untyped-call]
        return Latents(values, None, pre, l0)

    def terms(self, step: Step) -> dict[str, Tensor]:
        l0 = step.latents.l0
        away = l0 / self._target.now(l0, step.progress) - 1
        return {**super().terms(step), "sparsity": self.coefficient * away.square()}

    @torch.no_grad()
    def finish(self, acts: Tensor) -> None:
        self.sae.threshold.clamp_(min=0)


class Jump(torch.autograd.Function):
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


ARCHITECTURE = Architecture(
    JumpReLU, JumpReLURecipe, sae_lens="jumprelu", dictionary_learning={"JumpReluAutoEncoder": False}
)
