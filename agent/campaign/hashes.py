"""Hashes of what a run left behind: taken once it is scored, kept in the ledger, compared whenever someone asks."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from agent.base.files import remove_unfinished
from agent.campaign.events import Sealed

if TYPE_CHECKING:
    from agent.campaign.campaign import Campaign

RESULTS = "results.json"


def record_hashes(campaign: "Campaign") -> None:
    """Note the hashes of every folder with results that has none yet.

    Args:
        campaign: The campaign, after any of its steps.
    """
    known = campaign.state.hashes
    for folder in scored_folders(campaign.workspace.path):
        name = folder.relative_to(campaign.workspace.path).as_posix()
        if name not in known:
            remove_unfinished(folder)
            campaign.record(Sealed(folder=name, files=hashes(folder)))


def scored_folders(workspace: Path) -> list[Path]:
    """The folders of a campaign that hold results, the baselines' among them."""
    return sorted(path.parent for path in workspace.glob(f"run_*/**/{RESULTS}"))


def hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of a folder, by its path inside.

    Args:
        folder: A run's.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                found[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
        elif path.is_symlink():
            found[path.relative_to(folder).as_posix()] = f"link to {path.readlink()}"
    return found


def unchanged(folder: Path, files: dict[str, str]) -> bool:
    """Tell whether every file of before is there and the same; there may be others.

    Args:
        folder: A run's.
        files: The hashes of before.
    """
    return folder.is_dir() and files.items() <= hashes(folder).items()


def changed_files(workspace: Path, known: dict[str, dict[str, str]]) -> list[str]:
    """List the files that differ from the hashes in the ledger, a line for each.

    Args:
        workspace: The campaign's folder.
        known: Hashes by file, by folder.
    """
    said = []
    for name, files in known.items():
        folder = workspace / name
        if not folder.is_dir():
            said.append(f"{name}: the folder is missing")
            continue
        now = hashes(folder)
        for file in sorted(files.keys() | now.keys()):
            if file not in now:
                said.append(f"{name}/{file}: missing")
            elif file not in files:
                said.append(f"{name}/{file}: was not there when the run was scored")
            elif files[file] != now[file]:
                said.append(f"{name}/{file}: changed after the run was scored")
    return said
