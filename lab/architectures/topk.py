"""TopK: the k largest pre-activations of each token are kept.

Gao et al. 2024, arXiv:2406.04093, with the auxiliary loss of its appendix A.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from lab.architectures.base import SAE, Architecture
from lab.errors import LabError
from lab.recipes import Latents, Recipe, Step

_AUX_COEFFICIENT = 1 / 32


class TopK(SAE):
    """The k largest pre-activations of each token are kept.

    Args:
        weights: the shared ones. `latent_norms` [d_sae], where it is given, multiplies the latents that were kept:
            decoder norms, which can be taken off W_dec in no other way, because the k largest must stay the same ones.
        k: active latents of each token.
    """

    k: int
    latent_norms: Tensor | None

    def __init__(self, weights: Mapping[str, Tensor], k: int | None = None) -> None:
        super().__init__(weights, k)
        if not isinstance(k, int):
            raise LabError("an SAE of this architecture needs k, the number of active latents")
        if not 0 < k <= len(self.b_enc):
            raise LabError(f"k is {k}: it must be from 1 to the {len(self.b_enc)} latents")
        self.k = k
        self.register_buffer("latent_norms", weights.get("latent_norms"))

    @staticmethod
    def foldable(weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The k largest pre-activations must stay the same ones, so the norms multiply what was kept."""
        if weights.get("W_dec") is None:
            return weights
        norms = weights["W_dec"].norm(dim=-1)
        if norms.min() == 0 or (norms - 1).abs().max() < 1e-5:
            return weights
        return {**weights, "W_dec": weights["W_dec"] / norms[:, None], "latent_norms": norms}

    def activate(self, pre: Tensor) -> Tensor:
        values, columns = pre.topk(self.k, dim=-1, sorted=False)
        f = torch.zeros_like(pre).scatter(1, columns, values.relu())
        return f if self.latent_norms is None else f * self.latent_norms


class TopKRecipe(Recipe):
    """The reconstruction alone, and dead latents learn what it leaves."""

    sae: TopK
    whole_l0: ClassVar[bool] = True

    def activate(self, x: Tensor) -> Latents:
        pre = self.pre_activations(x)
        values, columns = pre.topk(self.sae.k, dim=-1, sorted=False)
        return Latents.of(values.relu(), columns, pre)

    def terms(self, step: Step) -> dict[str, Tensor]:
        return {**super().terms(step), **auxiliary(self.sae, step)}


def auxiliary(sae: SAE, step: Step) -> dict[str, Tensor]:
    """Dead latents, those that were idle longest, learn what the others leave of the activations."""
    if not step.any_dead:
        return {}
    idle, chosen = step.idle.topk(min(sae.W_dec.shape[1] // 2, len(step.idle)))
    pre = (step.acts - sae.b_dec) @ sae.W_enc.T[chosen].T + sae.b_enc[chosen]
    values = pre.relu() * (idle >= step.dead_after)
    target = step.error.detach()
    left = (values @ sae.W_dec[chosen] - target).square().mean() / target.square().mean()
    return {"auxiliary": _AUX_COEFFICIENT * left}


ARCHITECTURE = Architecture(TopK, TopKRecipe, sae_lens="topk", dictionary_learning={"AutoEncoderTopK": True})
