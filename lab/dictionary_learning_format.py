"""SAEs as dictionary_learning saves them: `ae.pt` and `config.json` (github.com/saprmarks/dictionary_learning).

Its trainers fold the scale of the activations into the biases before they save, so the weights are for raw ones.
"""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lab.architectures import TABLE, load
from lab.errors import LabError
from lab.foreign import Foreign, read_settings, subtracting_bias

WEIGHTS, SETTINGS = "ae.pt", "config.json"
# What torch is known to raise on a file that is no archive of tensors.
_FAULTS = (pickle.UnpicklingError, struct.error, RuntimeError, EOFError, ValueError, TypeError, LookupError)

# Our name, theirs, and whether theirs is the transpose. The first that is there counts.
_NAMES = (
    ("W_enc", "W_enc", False),
    ("W_enc", "encoder.weight", True),
    ("W_dec", "W_dec", False),
    ("W_dec", "decoder.weight", True),
    ("b_dec", "b_dec", False),
    ("b_dec", "bias", False),
    ("b_dec", "decoder_bias", False),
    ("b_dec", "decoder.bias", False),
    ("b_enc", "b_enc", False),
    ("b_enc", "encoder.bias", False),
    ("b_enc", "gate_bias", False),
    ("b_mag", "mag_bias", False),
    ("r_mag", "r_mag", False),
    ("threshold", "threshold", False),
)


def from_dictionary_learning(folder: Path) -> Foreign:
    """Read `ae.pt` and `config.json`; nothing in them is run.

    Args:
        folder: where both lie.

    Raises:
        LabError: a file is missing or damaged, or the class has no form here.
    """
    trainer = read_settings(folder / SETTINGS).get("trainer")
    if not isinstance(trainer, dict) or "dict_class" not in trainer:
        raise LabError(f'{folder / SETTINGS} has no "trainer" with a "dict_class": it is not dictionary_learning\'s')
    kind = trainer["dict_class"]
    classes = _classes()
    if kind not in classes:
        raise LabError(f"{folder} is a {kind} of dictionary_learning: {', '.join(classes)} can be read")
    architecture, subtracts = classes[kind]
    state = _load(folder / WEIGHTS)
    weights: dict[str, Tensor] = {}
    for ours, theirs, transposed in _NAMES:
        if theirs in state and ours not in weights:
            tensor = state[theirs].float()
            weights[ours] = (tensor.T if transposed else tensor).contiguous()
    threshold = weights.pop("threshold", None)
    if "threshold" in load(architecture).sae.needs and threshold is not None and "b_enc" in weights:
        weights["threshold"] = threshold.expand_as(weights["b_enc"]).contiguous() if threshold.ndim == 0 else threshold
    if not subtracts and {"W_enc", "b_enc", "b_dec"} <= weights.keys():
        weights = subtracting_bias(weights)
    k = int(state["k"]) if "k" in state else trainer.get("k")
    return Foreign(architecture, weights, k, _facts(trainer))


def _classes() -> dict[str, tuple[str, bool]]:
    """Its classes, the architecture each is here, and whether its encoder subtracts the decoder's bias."""
    return {theirs: (name, subtracts) for name in TABLE for theirs, subtracts in load(name).dictionary_learning.items()}


def _load(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise LabError(f"cannot read {path}: {error.strerror}") from error
    except _FAULTS as error:
        raise LabError(f"{path} is damaged, or holds more than tensors: it is not loaded; fetch it again") from error
    if not isinstance(state, dict):
        raise LabError(f"{path} holds a {type(state).__name__}, not named tensors: it is not dictionary_learning's")
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}


def _facts(trainer: dict[str, Any]) -> dict[str, Any]:
    place = str(trainer.get("submodule_name") or "resid_post")
    layer = trainer.get("layer")
    hook = f"blocks.{layer}.hook_resid_post" if place.startswith("resid_post") else place
    facts = {"hook": None if layer is None else hook, "settings": trainer}
    if name := trainer.get("lm_name"):
        facts["subject"] = {"name": name}
    return {name: value for name, value in facts.items() if value is not None}
