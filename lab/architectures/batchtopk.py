"""BatchTopK: in training the largest pre-activations of the whole batch are kept, then those above one threshold.

Bussmann et al. 2024, arXiv:2412.06410.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lab.architectures.base import Architecture
from lab.architectures.jumprelu import JumpReLU
from lab.architectures.topk import auxiliary
from lab.recipes import Latents, Recipe, Step

_CHUNK = 512


class BatchTopKRecipe(Recipe):
    """The largest of a batch, and dead latents learn what these leave.

    The threshold of inference is set at the end to the one that gives the wanted L0 on the run's own data, where
    dictionary_learning keeps a running mean that a few hundred steps would not settle.
    """

    sae: JumpReLU

    def activate(self, x: Tensor) -> Latents:
        pre = self.pre_activations(x)
        edge = _largest(pre.detach().flatten(), round(self.l0 * len(x))).min()
        return Latents.of(pre.relu() * (pre >= edge), None, pre)

    def terms(self, step: Step) -> dict[str, Tensor]:
        return {**super().terms(step), **auxiliary(self.sae, step)}

    @torch.no_grad()
    def finish(self, acts: Tensor) -> None:
        count = max(1, round(self.l0 * len(acts)))
        largest = acts.new_empty(0)
        for part in acts.split(_CHUNK):
            largest = _largest(torch.cat((largest, self.sae.pre_activations(part).flatten())), count)
        self.sae.threshold.fill_(float(largest.min().clamp(min=0)))


def _largest(values: Tensor, count: int) -> Tensor:
    return values.topk(min(max(count, 1), len(values)), sorted=False).values


ARCHITECTURE = Architecture(
    JumpReLU,
    BatchTopKRecipe,
    sae_lens="jumprelu",
    trained_as="batchtopk",
    dictionary_learning={"BatchTopKSAE": True},
)
