"""Runs a command line so that the keys it was given stay in the memory of its process."""

import io
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from agent.base.errors import AgentError
from agent.base.keys import environment, scrub, withhold
from agent.base.places import PROJECT


def guarded(main: Callable[[], int]) -> int:
    """Run a command line whose children inherit no key, and whose output shows none.

    Args:
        main: What to run.

    Returns:
        Its exit code.
    """
    withhold()
    for folder in (Path.cwd(), PROJECT):
        with suppress(AgentError):  # who needs that `.env` will say what is wrong with it
            environment(folder)
    # A process that dies of a signal would leave its memory in a file.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    sys.stdout, sys.stderr = _scrubbing(sys.stdout), _scrubbing(sys.stderr)
    return main()


class _Scrubbing(io.TextIOWrapper):
    """A stream that removes keys: from lines, logs of libraries, warnings and tracebacks alike."""

    def write(self, text: str) -> int:
        super().write(scrub(text))
        return len(text)


def _scrubbing(stream: TextIO) -> TextIO:
    """A stream of the process, from now on scrubbed; the old one can't be used any more."""
    if not isinstance(stream, io.TextIOWrapper):  # closed by whoever started this
        return stream
    return _Scrubbing(
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
        buffer=stream.detach(),  # last: the stream tells nothing of itself afterwards
    )
