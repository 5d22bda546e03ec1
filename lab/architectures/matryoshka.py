"""Matryoshka: a BatchTopK whose first latents alone, and more and more of them, must reconstruct.

Bussmann et al. 2025, arXiv:2503.17547.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lab import sparse
from lab.architectures.base import Architecture
from lab.architectures.batchtopk import BatchTopKRecipe
from lab.architectures.jumprelu import JumpReLU
from lab.recipes import Step

_GROUPS = (1 / 32, 1 / 16, 1 / 8, 1 / 4)  # the inner groups; the last one is the rest


class MatryoshkaRecipe(BatchTopKRecipe):
    """BatchTopK's, with the mean of the errors of all groups."""

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


ARCHITECTURE = Architecture(
    JumpReLU,
    MatryoshkaRecipe,
    sae_lens="jumprelu",
    trained_as="matryoshka_batchtopk",
    dictionary_learning={"MatryoshkaBatchTopKSAE": True},
)
