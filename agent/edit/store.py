"""Writing several files so that all of them change or none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.base.errors import AgentError
from agent.base.files import UNFINISHED, flush_folder

_PIECE = 1 << 16


@dataclass(frozen=True)
class Change:
    """A file's bytes before and after; ``before`` is None for a new file."""

    before: bytes | None
    after: bytes


def write_all(root: Path, changes: Mapping[str, Change]) -> None:
    """Put every new content in place, or leave every file as it was.

    Each content goes to a temporary file beside its target, is flushed to the disk, renamed over the target and read
    back. Links are followed; permissions are kept.

    Args:
        root: the folder that the paths are relative to.
        changes: by path.

    Raises:
        AgentError: a file was changed by somebody else meanwhile, or cannot be written; nothing was changed then.
    """
    ready: list[tuple[Path, Path, Change]] = []
    made: list[Path] = []
    done: list[tuple[Path, Change]] = []
    try:
        for path, change in changes.items():
            target = Path(os.path.realpath(root / path))
            made.extend(_make_folder(target.parent))
            ready.append((_stage(target, change.after), target, change))
        for _, target, change in ready:
            if not _holds(target, change.before):
                raise AgentError(f"{target.name} was changed by another program while it was edited; try again")
        for staged, target, change in ready:
            done.append((target, change))
            staged.replace(target)
        for folder in {target.parent for target, _ in done}:
            flush_folder(folder)
        for target, change in done:
            if not _holds(target, change.after):
                raise AgentError(f"{target.name} does not read back as it was written; check the disk")
    except BaseException as problem:
        for staged, _, _ in ready:
            staged.unlink(missing_ok=True)
        _undo(done, made)
        if isinstance(problem, OSError):
            raise AgentError(f"cannot write {problem.filename or 'the files'}: {problem.strerror}") from problem
        raise


def _stage(target: Path, content: bytes) -> Path:
    staged = target.with_name(f".{target.name[:100]}.{os.urandom(6).hex()}{UNFINISHED}")
    try:
        with staged.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            staged.chmod(target.stat().st_mode & 0o7777)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    return staged


def _undo(done: list[tuple[Path, Change]], made: list[Path]) -> None:
    for target, change in done:
        if change.before is None:
            target.unlink(missing_ok=True)
        elif not _holds(target, change.before):
            staged = _stage(target, change.before)
            staged.replace(target)
    for folder in reversed(made):
        with suppress(OSError):
            folder.rmdir()


def _make_folder(folder: Path) -> list[Path]:
    """Make a folder and those above it; returns the new ones, outermost first."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir()
    return list(reversed(missing))


def _holds(target: Path, content: bytes | None) -> bool:
    """Tell whether a file has this content, or with None is not there; read in pieces, to be gentle with memory."""
    try:
        with target.open("rb", buffering=0) as file:
            if content is None or os.fstat(file.fileno()).st_size != len(content):
                return False
            return all(file.read(_PIECE) == content[at : at + _PIECE] for at in range(0, len(content), _PIECE))
    except FileNotFoundError:
        return content is None
