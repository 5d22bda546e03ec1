"""Recovery: the remains of a launcher that was killed are removed by the next one that holds the campaign's folder."""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from agent.base.errors import AgentError
from agent.base.files import remove_scratch, remove_unfinished
from agent.campaign.campaign import Campaign

# A git that is at work in the folder, a killed launcher's or the user's, is given this many seconds to end by itself.
PATIENCE = 5.0


def recover(campaign: Campaign) -> None:
    """Remove files that were being written, and the locks of a git that was killed; say which locks.

    Args:
        campaign: One whose lock is held, so that no other launcher works in its folder.

    Raises:
        AgentError: A git goes on there.
    """
    folder = campaign.workspace.path
    deadline = time.monotonic() + PATIENCE
    while (at_work := _git_works_in(folder)) and time.monotonic() < deadline:
        time.sleep(0.02)
    for lock in _git_locks(folder / ".git"):
        if at_work:  # one that only shows something holds none
            raise AgentError(f"a git is at work in {folder} and holds {lock.name}; let it end, or end it, and resume")
        lock.unlink()
        campaign.screen.say(f"  {lock.relative_to(folder)}, left behind by a git that was killed, was removed")
    for part in (folder / ".git" / "objects").glob("*/tmp_obj_*"):
        part.unlink()
    remove_unfinished(folder)
    remove_scratch()


def _git_works_in(folder: Path) -> bool:
    """Tell whether a git process is at work in a folder: its launcher may be dead while it goes on for a moment."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile, or is another user's
            if (process / "comm").read_text() == "git\n" and (process / "cwd").readlink() == folder:
                return True
    return False


def _git_locks(folder: Path) -> Iterator[Path]:
    """Lock files of a repository: of its index, its HEAD, its configuration, its branches."""
    yield from folder.glob("*.lock")
    yield from (folder / "refs").rglob("*.lock")
