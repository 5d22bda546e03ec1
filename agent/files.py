"""Writing files so that a reader, or a restart, sees the old content or the new, never a part."""

import hashlib
import os
import tempfile
from pathlib import Path

from agent.errors import AgentError


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
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
            Path(name).chmod(mode)
            Path(name).replace(path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise AgentError(f"cannot write {path}: {error.strerror or error}; free the space or fix the rights") from error


def sha256(data: str | bytes) -> str:
    """The SHA-256 of text (as UTF-8) or bytes, in hexadecimal."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()
