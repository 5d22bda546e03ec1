"""The launcher as a user starts it, but for its secret: `python -m tests.agent.seeded ARGUMENTS`.

A verdict depends on seeds, and a test must not depend on luck.
"""

import sys
from types import SimpleNamespace

from agent.base.guard import guarded
from agent.campaign import seeds
from agent.launch import main


def fix() -> None:
    """Have every campaign of this process draw the same secret."""
    seeds.secrets = SimpleNamespace(token_hex=lambda size: "1c" * size)  # type: ignore[attr-defined]


if __name__ == "__main__":
    fix()
    sys.exit(guarded(main))
