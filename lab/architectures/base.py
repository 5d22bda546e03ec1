"""The base of all architectures: weights, reading and writing of the residual stream, forms in other libraries.

All read x - b_dec and give latents f with decode(f) = f W_dec + b_dec; they differ in what the encoder keeps. A form
in which b_dec is not subtracted, or in which the magnitude has weights of its own, is brought into this one by
whoever reads it (`lab.sae_lens_format`, `lab.dictionary_learning_format`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from lab.errors import LabError

if TYPE_CHECKING:
    from lab.recipes import Recipe

_SHARED = ("W_dec", "W_enc", "b_enc", "b_dec")


class SAE(nn.Module):
    """An SAE at inference, which is trained, imported and exported alike whatever its encoder keeps.

    Args:
        weights: W_enc [d_in, d_sae], b_enc [d_sae], W_dec [d_sae, d_in], b_dec [d_in]; a subclass may need more.
        k: active latents of each token, for an architecture that fixes it.

    Raises:
        LabError: a weight is missing or misshapen.
    """

    needs: ClassVar[tuple[str, ...]] = ()  # beside the shared ones, each [d_sae]
    k: int | None = None

    W_enc: nn.Parameter
    b_enc: nn.Parameter
    W_dec: nn.Parameter
    b_dec: nn.Parameter

    def __init__(self, weights: Mapping[str, Tensor], k: int | None = None) -> None:
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

    @staticmethod
    def foldable(weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Weights of the same SAE whose decoder norms `lab.artifact.save` can fold into the encoder."""
        return weights

    def pre_activations(self, x: Tensor) -> Tensor:
        """[n, d_in] to [n, d_sae]."""
        return (x - self.b_dec) @ self.W_enc + self.b_enc

    def activate(self, pre: Tensor) -> Tensor:
        """Latents [n, d_sae] from pre-activations [n, d_sae]."""
        raise NotImplementedError

    def encode(self, x: Tensor) -> Tensor:
        """[n, d_in] to [n, d_sae]."""
        return self.activate(self.pre_activations(x))

    def decode(self, f: Tensor) -> Tensor:
        """[n, d_sae] to [n, d_in]."""
        return f @ self.W_dec + self.b_dec


@dataclass(frozen=True)
class Architecture:
    """An architecture, as the module that it has for itself describes it.

    Args:
        sae: how it encodes at inference.
        recipe: how it is trained.
        sae_lens: what SAELens calls what it is at inference; "" where it has no form there.
        trained_as: what SAELens calls its training, where several architectures are one at inference.
        renamed: weights that have another name in SAELens, by ours.
        dictionary_learning: the classes of dictionary_learning that are this, and whether each subtracts b_dec.
    """

    sae: type[SAE]
    recipe: type[Recipe]
    sae_lens: str = ""
    trained_as: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)
    dictionary_learning: Mapping[str, bool] = field(default_factory=dict)


def _size(W_dec: Tensor) -> tuple[int, int]:
    if W_dec.ndim != 2:
        raise LabError(f"W_dec has shape {list(W_dec.shape)}, it must be [d_sae, d_in]")
    return W_dec.shape[0], W_dec.shape[1]
