"""What the caller of a run gives it, through the environment: seed, device, settings, and which steps are done.

SAE_LAB_SEED, SAE_LAB_DEVICE, SAE_LAB_SETTINGS (JSON, overrides of an experiment's settings), SAE_LAB_MAX_STEPS for a
short trial, and SAE_LAB_SMOKE_STEPS for a smoke run (`lab.smoke`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lab.errors import LabError


@dataclass(frozen=True)
class Schedule:
    """Which steps of a run are done.

    Args:
        steps: how many the run is told it has.
        numbers: those that are handed out, rising.
    """

    steps: int
    numbers: Sequence[int]


def seed() -> int:
    """The seed of the run.

    Raises:
        LabError: it is not a whole number.
    """
    return _number("SAE_LAB_SEED", 0)


def schedule(steps: int) -> Schedule:
    """The steps that are done, of a profile's number.

    A smoke run is given either a number, for a whole run with its schedule compressed into so few steps, or the
    numbers of single steps of the real run, with commas between.

    Raises:
        LabError: what is given is no number, or is not below the number of steps.
    """
    text = os.environ.get("SAE_LAB_SMOKE_STEPS", "")
    if "," in text:
        numbers = sorted({int(part) for part in text.split(",") if part.isdecimal()})
        if not numbers or numbers[-1] >= steps:
            raise LabError(f"SAE_LAB_SMOKE_STEPS must be numbers of steps below {steps}, not {text!r}")
        return Schedule(steps, numbers)
    for variable in ("SAE_LAB_SMOKE_STEPS", "SAE_LAB_MAX_STEPS"):
        if most := _number(variable, 0):
            steps = min(steps, most)
    return Schedule(steps, range(steps))


def device() -> torch.device:
    """The device of the run: the caller's, else a GPU where there is one.

    Raises:
        LabError: there is no such device.
    """
    name = os.environ.get("SAE_LAB_DEVICE")
    try:
        found = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise LabError(f"SAE_LAB_DEVICE: no such device {name!r}: use cpu or cuda") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise LabError("SAE_LAB_DEVICE is cuda and torch sees no CUDA GPU: use cpu")
    return found


def overrides(values: dict[str, Any]) -> dict[str, Any]:
    """The caller's overrides of an experiment's settings, checked against the values they replace.

    Args:
        values: the settings by name.

    Raises:
        LabError: they are not JSON, name no setting, or are of another type than what they replace.
    """
    text = os.environ.get("SAE_LAB_SETTINGS") or "{}"
    try:
        found = json.loads(text)
    except ValueError as error:
        raise LabError(f"SAE_LAB_SETTINGS is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise LabError('SAE_LAB_SETTINGS must be a JSON object such as {"k": 64}')
    for name, value in found.items():
        if name not in values:
            raise LabError(f"SAE_LAB_SETTINGS: no setting {name!r}; there are {', '.join(sorted(values))}")
        old = values[name]
        kinds = (int, float) if isinstance(old, float) else type(old)
        if old is not None and (isinstance(value, bool) != isinstance(old, bool) or not isinstance(value, kinds)):
            raise LabError(f"SAE_LAB_SETTINGS: {name} is a {type(old).__name__}, not {value!r}")
    return found


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isdecimal():
        raise LabError(f"{variable} must be a whole number of 0 or more, not {text!r}")
    return int(text)
