"""Writing files so that a reader, or a restart, sees the old content or the new, never a part."""

import errno
import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from agent.base.errors import AgentError

# How a file ends, its name beginning with a dot, until it takes the place of the one it is meant for.
UNFINISHED = ".new"
SCRATCH = "sae-scratch-"


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace the content of a file through a temporary file beside it, synced before it is renamed.

    Args:
        path: The file; its folder must exist.
        content: The new content; text is written as UTF-8 with its line ends as they are.

    Raises:
        AgentError: The file can't be written (disk full, no permission).
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
            Path(name).chmod(mode)
            Path(name).replace(path)
            flush_folder(path.parent)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise AgentError(f"cannot write {path}: {error.strerror or error}; free the space or fix the rights") from error


def flush_folder(folder: Path) -> None:
    """Have on the disk which files a folder holds: one that was made or renamed may be lost with the power else."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has no such thing
            raise
    finally:
        os.close(handle)


def flush(folder: Path) -> None:
    """Have a folder on the disk with all that is in it, before an event says that it is there."""
    for path, _, names in os.walk(folder):
        for name in names:
            handle = os.open(Path(path) / name, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        flush_folder(Path(path))


def remove_unfinished(folder: Path) -> None:
    """Delete what a killed process was writing, anywhere in a folder that nobody else writes to."""
    for path in folder.rglob(f".*{UNFINISHED}"):
        if path.is_file() and not path.is_symlink():
            path.unlink()


def scratch_prefix(what: str) -> str:
    """The prefix of a folder for temporary files, so that it can be deleted when this process is killed."""
    return f"{SCRATCH}{what}-{os.getpid()}-"


def remove_scratch() -> None:
    """Delete the folders for temporary files of processes that are dead."""
    for folder in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*-*-*"):
        process = folder.name.split("-")[-2]
        with suppress(OSError):  # someone else deletes it
            if folder.lstat().st_uid == os.geteuid() and not Path(f"/proc/{process}").exists():
                shutil.rmtree(folder, ignore_errors=True)


def sha256(data: str | bytes) -> str:
    """The SHA-256 of text (as UTF-8) or bytes, in hexadecimal."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()
