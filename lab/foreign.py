"""An SAE of another library, brought into the one form that this lab trains, saves and scores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lab.architectures import load
from lab.architectures.base import SAE
from lab.errors import LabError


@dataclass(frozen=True)
class Foreign:
    """The contents of another library's files.

    Args:
        architecture: a key of `lab.architectures.TABLE`.
        weights: as that architecture's class names them, float32.
        k: active latents of each token, for topk.
        facts: what is known of its training, under the names of sae.json (`subject`, `hook`, `tokens`, `context`).
        scaled: whether its weights are meant for activations that were scaled to a mean norm of √d_in by a factor
            that the files do not hold.
    """

    architecture: str
    weights: Mapping[str, Tensor]
    k: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    scaled: bool = False

    def module(self) -> SAE:
        """The SAE as a module that `lab.artifact.save` takes.

        Raises:
            LabError: a weight is missing or misshapen, or holds values that are not finite.
        """
        for name, tensor in self.weights.items():
            if not torch.isfinite(tensor).all():
                raise LabError(f"{name} holds values that are not finite (NaN or infinity)")
        made = load(self.architecture).sae
        return made(made.foldable(self.weights), self.k)


def read_settings(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        LabError: it is no such file.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LabError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise LabError(f"{path} is not JSON ({error}): fetch the SAE again") from error
    if not isinstance(value, dict):
        raise LabError(f"{path} must be a JSON object with the SAE's settings")
    return value


def subtracting_bias(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights for an encoder that reads x - b_dec from those for one that reads x; both compute the same."""
    shift = (weights["b_dec"].double() @ weights["W_enc"].double()).float()
    moved = {**weights, "b_enc": weights["b_enc"] + shift}
    if "b_mag" in weights:
        moved["b_mag"] = weights["b_mag"] + weights["r_mag"].exp() * shift
    return moved


def folded(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Decoder rows of norm 1, their norms in encoder and b_enc: what selects latents is then multiplied by them."""
    norms = weights["W_dec"].norm(dim=1)
    unit = weights["W_dec"] / norms.clamp(min=torch.finfo(torch.float32).tiny)[:, None]
    return {**weights, "W_enc": weights["W_enc"] * norms, "b_enc": weights["b_enc"] * norms, "W_dec": unit}
