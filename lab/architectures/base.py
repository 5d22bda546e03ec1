"""The six architectures at inference: one small module each, which is trained, imported and exported alike.

All read x - b_dec and give latents f with decode(f) = f W_dec + b_dec; they differ in what the encoder keeps. A form
in which b_dec is not subtracted, or in which the magnitude has weights of its own, is brought into this one by
whoever reads it (`lab.sae_lens_format`, `lab.dictionary_learning_format`).

Sources: Bricken et al. 2023, transformer-circuits.pub (ReLU); Gao et al. 2024, arXiv:2406.04093 (TopK); Rajamanoharan
et al. 2024, arXiv:2404.16014 (Gated) and arXiv:2407.14435 (JumpReLU); Bussmann et al. 2024, arXiv:2412.06410
(BatchTopK) and 2025, arXiv:2503.17547 (Matryoshka). The last two are a ReLU above one threshold when they are used.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lab.errors import LabError

_SHARED = ("W_dec", "W_enc", "b_enc", "b_dec")


class ReLU(nn.Module):
    """Every positive pre-activation is kept.

    Args:
        weights: W_enc [d_in, d_sae], b_enc [d_sae], W_dec [d_sae, d_in], b_dec [d_in]; a subclass may need more.

    Raises:
        LabError: one is missing or misshapen.
    """

    needs: tuple[str, ...] = ()  # beside the shared ones, each [d_sae]

    W_enc: nn.Parameter
    b_enc: nn.Parameter
    W_dec: nn.Parameter
    b_dec: nn.Parameter

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name in (*_SHARED, *self.needs):
            if name not in weights:
                raise LabError(f"an SAE of this architecture needs {name}")
        d_sae, d_in = _size(weights["W_dec"])
        shapes = {"W_enc": (d_in, d_sae), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}
        for name in (*_SHARED, *self.needs):
            shape, found = shapes.get(name, (d_sae,)), tuple(weights[name].shape)
            if found != shape:
                raise LabError(f"{name} has shape {list(found)}, it must be {list(shape)}")
            self.register_parameter(name, nn.Parameter(weights[name]))

    def pre_activations(self, x: Tensor) -> Tensor:
        """[n, d_in] to [n, d_sae]."""
        return (x - self.b_dec) @ self.W_enc + self.b_enc

    def activate(self, pre: Tensor) -> Tensor:
        """Latents [n, d_sae] from pre-activations [n, d_sae]."""
        return pre.relu()

    def encode(self, x: Tensor) -> Tensor:
        """[n, d_in] to [n, d_sae]."""
        return self.activate(self.pre_activations(x))

    def decode(self, f: Tensor) -> Tensor:
        """[n, d_sae] to [n, d_in]."""
        return f @ self.W_dec + self.b_dec


def _size(W_dec: Tensor) -> tuple[int, int]:
    if W_dec.ndim != 2:
        raise LabError(f"W_dec has shape {list(W_dec.shape)}, it must be [d_sae, d_in]")
    return W_dec.shape[0], W_dec.shape[1]


class TopK(ReLU):
    """The k largest pre-activations of each token are kept.

    Args:
        weights: the shared ones. `latent_norms` [d_sae], where it is given, multiplies the latents that were kept:
            decoder norms, which can be taken off W_dec in no other way, because the k largest must stay the same ones.
        k: active latents of each token.
    """

    latent_norms: Tensor | None

    def __init__(self, weights: Mapping[str, Tensor], k: int) -> None:
        super().__init__(weights)
        if not 0 < k <= len(self.b_enc):
            raise LabError(f"k is {k}: it must be from 1 to the {len(self.b_enc)} latents")
        self.k = k
        self.register_buffer("latent_norms", weights.get("latent_norms"))

    def activate(self, pre: Tensor) -> Tensor:
        values, columns = pre.topk(self.k, dim=-1, sorted=False)
        f = torch.zeros_like(pre).scatter(1, columns, values.relu())
        return f if self.latent_norms is None else f * self.latent_norms


class Threshold(ReLU):
    """Pre-activations above each latent's threshold are kept: JumpReLU, and BatchTopK and Matryoshka at inference."""

    needs = ("threshold",)

    threshold: nn.Parameter

    def activate(self, pre: Tensor) -> Tensor:
        return pre.relu() * (pre > self.threshold)


class Gated(ReLU):
    """b_enc decides which latents are active, r_mag and b_mag how large they are, along the same directions."""

    needs = ("r_mag", "b_mag")

    r_mag: nn.Parameter
    b_mag: nn.Parameter

    def activate(self, pre: Tensor) -> Tensor:
        return self.magnitudes(pre) * (pre > 0)

    def magnitudes(self, pre: Tensor) -> Tensor:
        """[n, d_sae]: the latents' sizes if their gates were open."""
        return ((pre - self.b_enc) * self.r_mag.exp() + self.b_mag).relu()


ARCHITECTURES: dict[str, type[ReLU]] = {
    "topk": TopK,
    "batchtopk": Threshold,
    "matryoshka": Threshold,
    "relu": ReLU,
    "jumprelu": Threshold,
    "gated": Gated,
}


def build(architecture: str, weights: Mapping[str, Tensor], k: int | None = None) -> ReLU:
    """The module of an architecture.

    Args:
        architecture: a key of ARCHITECTURES.
        weights: what its class names.
        k: for topk.

    Raises:
        LabError: the architecture is unknown, or a weight or k is missing.
    """
    made = ARCHITECTURES.get(architecture)
    if made is None:
        raise LabError(f"unknown architecture {architecture!r}: there are {', '.join(ARCHITECTURES)}")
    if made is TopK:
        if not isinstance(k, int):
            raise LabError("an SAE of this architecture needs k, the number of active latents")
        return TopK(weights, k)
    return made(weights)
