"""The environment of a child process, and the file of its progress."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agent.campaign.campaign import Campaign


def environment(
    campaign: Campaign, seed: int = 0, progress: Path | None = None, settings: str = "{}"
) -> dict[str, str]:
    """The environment of a run or a scoring: an allow-list, and what the lab reads.

    Args:
        campaign: Whose profile and device count.
        seed: The seed of the run; the lab's, not the experiment's.
        progress: Where the lab says how far it is.
        settings: Overrides of the experiment's configuration, as JSON.

    Returns:
        The whole environment.
    """
    from agent.base.keys import child_environment
    from lab.cache import root

    extra = {
        "SAE_LAB_PROFILE": str(campaign.profile.path),
        "SAE_LAB_SEED": str(seed),
        "SAE_LAB_SETTINGS": settings,
        "SAE_LAB_CACHE": str(root()),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLBACKEND": "Agg",
        # Threads that wait by spinning take the cores from other work on a shared machine, three times over.
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    if progress is not None:
        extra["SAE_LAB_PROGRESS"] = str(progress)
    if campaign.settings.device:
        extra["SAE_LAB_DEVICE"] = campaign.settings.device
    return child_environment(extra)


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
