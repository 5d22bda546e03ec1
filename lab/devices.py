"""The choice of the device that tensors are computed on."""

from __future__ import annotations

import torch

from lab.errors import LabError


def choose_device(name: str | None) -> torch.device:
    """A device by its name; None takes CUDA where there is one.

    Raises:
        LabError: there is no such device here.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise LabError(f"unknown device {name!r}: use cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise LabError(f"device {name!r} is not supported: use cpu or cuda")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise LabError(f"device {name} was asked for, and torch sees no CUDA GPU: use cpu")
        if (device.index or 0) >= torch.cuda.device_count():
            raise LabError(f"device {name} was asked for, and there are {torch.cuda.device_count()} GPUs: count from 0")
    return device
