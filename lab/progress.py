"""Progress of a long step: a bar on a terminal, a small file for a parent process, or nothing."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import TypeVar

PROGRESS_FILE = "SAE_LAB_PROGRESS"
PLACE: ContextVar[str] = ContextVar("PLACE", default="")
"""The same where it was taken out of the environment (`lab.runner`)."""

_INTERVAL = 0.2

T = TypeVar("T")


class Progress:
    """Progress of a step, in a file.

    When the environment variable SAE_LAB_PROGRESS names a file, `{"what", "done", "total", "eta_seconds"}` is put there
    whole, at most five times a second, so that a parent process can draw the bar. Else a rich bar with the time left
    goes to stderr when that is a terminal. Else nothing is shown.

    Args:
        what: the step, in words a user understands.
        total: how many units there are, None when unknown.
    """

    def __init__(self, what: str, total: int | None = None) -> None:
        self.what = what
        self.total = total
        self.done = 0
        self._started = time.monotonic()
        self._written = float("-inf")
        name = PLACE.get() or os.environ.get(PROGRESS_FILE)
        self._file = Path(name) if name else None
        self._bar = _Bar(what, total) if self._file is None and sys.stderr.isatty() else None

    def __enter__(self) -> Progress:
        self._show(force=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def update(self, count: int = 1) -> None:
        """Say that `count` more units are done."""
        self.done += count
        self._show()

    def rename(self, what: str) -> None:
        """Change the words shown, keeping the count."""
        self.what = what
        self._show(force=True)

    @property
    def eta_seconds(self) -> float | None:
        """Seconds left at the mean pace so far; None while that is unknown."""
        if not self.total or not self.done:
            return None
        elapsed = time.monotonic() - self._started
        return max(0.0, elapsed * (self.total - self.done) / self.done)

    def close(self) -> None:
        """Write the last state and take the bar away."""
        self._show(force=True)
        if self._bar is not None:
            self._bar.stop()

    def _show(self, force: bool = False) -> None:
        now = time.monotonic()
        if not force and now - self._written < _INTERVAL:
            return
        self._written = now
        if self._bar is not None:
            self._bar.show(self.what, self.done)
        if self._file is not None:
            state = {"what": self.what, "done": self.done, "total": self.total, "eta_seconds": self.eta_seconds}
            part = self._file.with_name(f"{self._file.name}.{os.getpid()}")
            # A parent may have cleaned up already; showing progress must never end the work itself.
            try:
                part.write_text(json.dumps(state), encoding="utf-8")
                part.replace(self._file)
            except OSError:
                self._file = None


class _Bar:
    """A rich bar on stderr; rich is imported only when there is a terminal to draw on."""

    def __init__(self, what: str, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._rich = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._rich.add_task(what, total=total)
        self._rich.start()

    def show(self, what: str, done: int) -> None:
        self._rich.update(self._task, description=what, completed=done)

    def stop(self) -> None:
        self._rich.stop()


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Yield the items and show how many are done.

    Args:
        items: what to go through.
        what: the step, in words.
        total: how many items there are; taken from `len(items)` when that exists.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Progress(what, total) as progress:
        for item in items:
            yield item
            progress.update()
