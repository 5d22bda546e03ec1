"""A content-addressed cache on disk: what is found there is whole, and made from exactly the key that was asked for."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from lab.errors import LabError
from lab.progress import Progress

ROOT_VARIABLE = "SAE_LAB_CACHE"
_KEY_FILE = "key.json"
_USED_FILE = ".used"
_PATIENCE = 0.5
_RESERVE_BYTES = 64 * 2**20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)

Build = Callable[[Path], None]
Waiting = Callable[[], None]


def root() -> Path:
    """The cache folder: the environment variable SAE_LAB_CACHE, else the user's cache folder. It may not exist yet."""
    if name := os.environ.get(ROOT_VARIABLE):
        return Path(name).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("sae-scientist")


def fingerprint(value: object) -> str:
    """A hash of a plain value that is the same in every process: 16 hexadecimal digits.

    Args:
        value: numbers, strings, None, mappings, sequences, sets, paths, dataclasses, pydantic models, nested freely.

    Raises:
        TypeError: something in it has no stable form.
    """
    text = json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def entry(
    kind: str, key: Mapping[str, Any], build: Build, *, needs_bytes: int = 0, waiting: Waiting | None = None
) -> Path:
    """The folder of one cached thing; it is built first where it is not there.

    One process builds while others wait at a file lock. The folder is filled under another name, flushed to disk and
    renamed, so an interrupted build is never taken for a whole one.

    Args:
        kind: the sort of thing, a folder name such as "activations".
        key: everything the content depends on; kept beside it as key.json.
        build: fills the empty folder it is given.
        needs_bytes: about how much room the build takes; checked before it starts.
        waiting: called twice a second while another builds it, in place of showing that; what it raises ends the wait.

    Returns:
        The folder, whole. Treat it as read-only.

    Raises:
        LabError: the disk is full or the cache folder cannot be written.
    """
    name = fingerprint(key)
    folder = root() / kind / name
    if _whole(folder):
        _touch(folder)
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder, waiting):
            if not _whole(folder):
                _make(folder, key, build, needs_bytes)
    except (OSError, RuntimeError, SafetensorError) as error:
        if is_full(error):
            raise LabError(
                f"no space left while writing {kind} to {root()}: free some, or set {ROOT_VARIABLE} to another disk"
            ) from error
        if isinstance(error, OSError) and error.errno in _CLOSED and str(error.filename).startswith(str(root())):
            raise LabError(
                f"cannot write the cache folder {root()}: set {ROOT_VARIABLE} to one you may write"
            ) from error
        raise
    _touch(folder)
    return folder


def is_full(error: Exception) -> bool:
    """Tell whether an error means that the disk, a quota or a limit on file sizes is full.

    Libraries that write with code of their own put the system's words into errors of their own; numpy only counts.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    return any(words in str(error) for words in (*map(os.strerror, _FULL), "requested and"))


def check_space(folder: Path, needs_bytes: int, what: str) -> None:
    """Refuse to start what the disk cannot hold.

    Raises:
        LabError: fewer than `needs_bytes` (and a small reserve) are free where `folder` lies.
    """
    free = shutil.disk_usage(_existing(folder)).free
    if free < needs_bytes + _RESERVE_BYTES:
        need = (needs_bytes + _RESERVE_BYTES) / 1e9
        raise LabError(
            f"{what} needs {need:.1f} GB and {folder} has {free / 1e9:.1f} GB free: "
            f"free some space, or set {ROOT_VARIABLE} to another disk"
        )


def write_json(path: Path, value: object) -> None:
    """Write JSON so that a reader sees the old file or the new one, never a part.

    Args:
        path: the file; its folder must exist.
        value: anything `fingerprint` takes.
    """
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".new")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(_plain(value), stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        Path(part).chmod(0o644)
        Path(part).replace(path)
        _flush_folder(path.parent)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        LabError: the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LabError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise LabError(f"{path} is damaged: {error}") from error


def _make(folder: Path, key: Mapping[str, Any], build: Build, needs_bytes: int) -> None:
    check_space(folder.parent, needs_bytes, f"the {folder.parent.name} cache")
    for old in folder.parent.glob(f".{folder.name}.part-*"):  # a killed builder's; the lock says nobody works on it
        shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        shutil.rmtree(folder)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.part-"))
    part.chmod(0o755)
    try:
        build(part)
        write_json(part / _KEY_FILE, key)
        _flush(part)
        part.rename(folder)
        _flush_folder(folder.parent)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


@contextmanager
def _alone(folder: Path, waiting: Waiting | None = None) -> Iterator[None]:
    """Hold the folder's lock; while another process has it, say so."""
    lock = FileLock(folder.parent / f".{folder.name}.lock")
    with ExitStack() as shown:
        told = False
        while not lock.is_locked:
            try:
                lock.acquire(timeout=_PATIENCE)
            except Timeout:
                if waiting is not None:
                    waiting()
                elif not told:
                    shown.enter_context(
                        Progress(f"waiting for another process that makes the {folder.parent.name} cache")
                    )
                    told = True
    try:
        yield
    finally:
        lock.release()


def _whole(folder: Path) -> bool:
    return (folder / _KEY_FILE).is_file()


def _touch(folder: Path) -> None:
    try:
        (folder / _USED_FILE).touch()
    except OSError:  # a cache that may only be read still serves
        pass


def _existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _flush(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
        elif path.is_dir():
            _flush_folder(path)
    _flush_folder(folder)


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _plain(value: object) -> Any:
    """The value in JSON's terms, the same for equal values."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else repr(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "model_dump"):
        return _plain(value.model_dump())
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=repr)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy and torch scalars and arrays
        return _plain(value.tolist())
    raise TypeError(f"no stable form for a {type(value).__name__} in a cache key")


# The command line: python -m lab.cache list | size | prune


@dataclasses.dataclass(frozen=True)
class Entry:
    """One cached thing on disk. `bytes` is its size, `used` when it was last asked for (seconds since 1970)."""

    kind: str
    name: str
    path: Path
    bytes: int
    used: float


def entries() -> Iterator[Entry]:
    """All whole things in the cache, by kind and name."""
    for path in sorted(root().glob(f"*/*/{_KEY_FILE}")):
        folder = path.parent
        if folder.name.startswith("."):
            continue
        size = sum(item.stat().st_size for item in folder.rglob("*") if item.is_file())
        mark = folder / _USED_FILE
        used = (mark if mark.exists() else path).stat().st_mtime
        yield Entry(folder.parent.name, folder.name, folder, size, used)


def prune(*, kind: str | None = None, unused_days: float = 0.0) -> list[Entry]:
    """Delete cached things and what interrupted builds left behind; what a process is building now is kept.

    Args:
        kind: only this kind; None for all.
        unused_days: only what was not asked for in so many days.

    Returns:
        The whole entries that were deleted.
    """
    limit = time.time() - unused_days * 86400
    gone = []
    for item in entries():
        if (kind in (None, item.kind)) and item.used <= limit and _remove(item.path):
            gone.append(item)
    for part in root().glob(f"{kind or '*'}/.*.part-*"):
        _remove(part, part.name.split(".part-")[0].lstrip("."))
    return gone


def _remove(folder: Path, name: str | None = None) -> bool:
    try:
        with FileLock(folder.parent / f".{name or folder.name}.lock", timeout=0):
            doomed = folder.with_name(f".{name or folder.name}.part-pruned")
            if folder != doomed:
                folder.rename(doomed)
            shutil.rmtree(doomed)
    except Timeout:
        return False
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lab.cache", description="Look at the lab's cache, or empty it.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every cached thing with its size and age")
    commands.add_parser("size", help="bytes by kind")
    pruning = commands.add_parser("prune", help="delete cached things")
    pruning.add_argument("--kind", help="only this kind")
    pruning.add_argument("--unused-days", type=float, default=0.0, help="only what was not used for so many days")
    options = parser.parse_args(arguments)
    out = sys.stdout.write
    if options.command == "prune":
        gone = prune(kind=options.kind, unused_days=options.unused_days)
        out(f"deleted {len(gone)} entries, {_size(sum(item.bytes for item in gone))}\n")
        return 0
    found = list(entries())
    if options.command == "list":
        for item in found:
            days = (time.time() - item.used) / 86400
            out(f"{item.kind:14} {item.name}  {_size(item.bytes):>9}  used {days:.1f} days ago\n")
    kinds = sorted({item.kind for item in found})
    for kind in kinds if options.command == "size" else ():
        out(f"{kind:14} {_size(sum(item.bytes for item in found if item.kind == kind)):>9}\n")
    out(f"{len(found)} entries, {_size(sum(item.bytes for item in found))} in {root()}\n")
    return 0


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.2f} MB"


if __name__ == "__main__":
    sys.exit(main())
