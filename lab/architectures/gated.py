"""Gated: some weights decide which latents are active, others how large they are.

Rajamanoharan et al. 2024, arXiv:2404.16014.
"""

from __future__ import annotations

from torch import Tensor, nn

from lab import sparse
from lab.architectures.base import SAE, Architecture
from lab.architectures.relu import ReLURecipe
from lab.recipes import Latents, Step, l1


class Gated(SAE):
    """b_enc decides which latents are active, r_mag and b_mag how large they are, along the same directions."""

    needs = ("r_mag", "b_mag")

    r_mag: nn.Parameter
    b_mag: nn.Parameter

    def activate(self, pre: Tensor) -> Tensor:
        return self.magnitudes(pre) * (pre > 0)

    def magnitudes(self, pre: Tensor) -> Tensor:
        """[n, d_sae]: the latents' sizes if their gates were open."""
        return ((pre - self.b_enc) * self.r_mag.exp() + self.b_mag).relu()


class GatedRecipe(ReLURecipe):
    """The penalty is on the gates, which also reconstruct on their own; in that the decoder is a constant."""

    sae: Gated

    def activate(self, x: Tensor) -> Latents:
        pre = self.pre_activations(x)
        return Latents.of(self.sae.activate(pre), None, pre)

    def terms(self, step: Step) -> dict[str, Tensor]:
        gates = step.latents.pre.relu()
        alone = sparse.combine(gates, None, self.sae.W_dec.detach()) + self.sae.b_dec.detach()
        return {
            "reconstruction": step.error.square().mean(),
            "auxiliary": (step.acts - alone).square().mean(),
            "sparsity": self.weight(step) * l1(gates, step.acts.shape[1]),
        }


ARCHITECTURE = Architecture(
    Gated,
    GatedRecipe,
    sae_lens="gated",
    renamed={"b_enc": "b_gate"},
    dictionary_learning={"GatedAutoEncoder": True},
)
