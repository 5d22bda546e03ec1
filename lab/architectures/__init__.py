"""The architectures of SAEs, a module each: those that `TABLE` lists."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from lab.errors import LabError

if TYPE_CHECKING:
    from lab.architectures.base import Architecture

TABLE: dict[str, str] = {
    "topk": "lab.architectures.topk",
    "batchtopk": "lab.architectures.batchtopk",
    "matryoshka": "lab.architectures.matryoshka",
    "relu": "lab.architectures.relu",
    "jumprelu": "lab.architectures.jumprelu",
    "gated": "lab.architectures.gated",
}
"""Each architecture's name and the module whose ARCHITECTURE it is, imported when it is asked for.

To add one is to add a file and a line. What was made with the others does not depend on this table.
"""


def load(name: str) -> Architecture:
    """An architecture: how it encodes, how it is trained, and its forms in other libraries.

    Raises:
        LabError: the name is unknown.
    """
    if name not in TABLE:
        raise LabError(f"unknown architecture {name!r}: choose from {', '.join(TABLE)}")
    found: Architecture = importlib.import_module(TABLE[name]).ARCHITECTURE
    return found
