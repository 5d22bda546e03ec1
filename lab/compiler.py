"""A stand-in for PyTorch's compiler, so that who trains without it does not wait for it.

An optimiser imports `torch._dynamo` at its first step, 2 s of it, only to mark a place at which a compiled step would
have to be cut. Where nothing is compiled there is nothing to cut.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

import torch

_NAME = "torch._dynamo"


class _StandIn(ModuleType):
    """Has what an optimiser asks for; asked for anything else, it gives way to the real module."""

    @staticmethod
    def graph_break(msg: str = "") -> None:
        """Cut nothing."""

    @staticmethod
    def disable(fn: Any = None, recursive: bool = True, **_: Any) -> Any:
        """Keep the compiler from a function: without a compiler, the function itself."""
        return fn if fn is not None else lambda function: function

    def __getattr__(self, name: str) -> Any:
        # Who looks through all modules there are, as `inspect` does, asks for nothing of this one.
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)
        if sys.modules.get(_NAME) is self:
            del sys.modules[_NAME]
            del torch._dynamo
        return getattr(importlib.import_module(_NAME), name)


def put_off() -> None:
    """Have PyTorch's compiler imported when it is used, and not before; nothing where it is there already."""
    if _NAME not in sys.modules:
        sys.modules[_NAME] = torch._dynamo = _StandIn(_NAME)
