"""The command that runs a module of the lab, and the file in which it says how far it is."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def lab_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of the lab; `-P` keeps the working folder out of its import path."""
    return [sys.executable, "-P", "-m", module, *arguments]


@contextmanager
def progress_in(folder: Path) -> Iterator[Path]:
    """A file in a run's folder for the lab's progress, gone afterwards; another machine sees it too.

    Args:
        folder: A folder that the command may change; it may be made only later.
    """
    path = folder / ".progress.json"
    try:
        yield path
    finally:
        for left in folder.glob(f"{path.name}*"):
            with suppress(OSError):  # a run may have made something else of it
                left.unlink()
