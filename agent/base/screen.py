"""The screen: lines, progress bars with time left, tables; or JSON lines; or errors only."""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

Style = Literal["rich", "quiet", "json"]
Tick = Callable[[], None]
LOG_WIDTH = 200
_LONGEST_PROGRESS, _LONGEST_STEP = 4096, 100


class Bar(Protocol):
    """Where the state of a step is drawn."""

    def update(self, what: str, done: float, total: float | None) -> None: ...


class Screen:
    """Speaks to the user in one of three styles.

    Args:
        style: `rich` for people, `quiet` for only the result and errors, `json` for a line of JSON for each event.
        check: Called at every tick of a step and before every step; raises when the user wants to stop.
        name: Of which campaign it speaks, where there are several; they share a terminal, so none draws a bar.
    """

    def __init__(self, style: Style = "rich", check: Tick = lambda: None, name: str = "") -> None:
        from rich.console import Console

        self.style = style
        self.check = check
        self._name = name
        # Where nobody's terminal is the measure, in a log file for one, lines may be as long as the tables need.
        self.console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else LOG_WIDTH)

    def say(self, text: str) -> None:
        """A line for people."""
        if self.style == "rich":
            self.console.print(self._named(text))

    def say_of_all(self, text: str) -> None:
        """A line about all campaigns."""
        if self.style == "rich":
            self.console.print(text)

    def complain(self, text: str) -> None:
        """A line on the error output, in each style."""
        sys.stderr.write(f"{self._name}: {text}\n" if self._name else f"{text}\n")

    def event(self, kind: str, data: dict[str, Any], of_all: bool = False) -> None:
        """An event of the ledger, for programs."""
        if self.style == "json":
            about = {"campaign": self._name} if self._name and not of_all else {}
            sys.stdout.write(json.dumps({"event": kind, **about, **data}) + "\n")
            sys.stdout.flush()

    def result(self, text: str, data: dict[str, Any], of_all: bool = False) -> None:
        """Show the result of a command, in each style; `of_all` where it is not of one of several campaigns."""
        if self.style == "json":
            self.event("result", data, of_all)
        else:
            self.console.print(text)

    def table(self, title: str, columns: list[str], rows: list[list[str]]) -> None:
        """A table for people."""
        if self.style != "rich":
            return
        from rich.box import SIMPLE
        from rich.table import Table

        table = Table(title=title, box=SIMPLE, title_justify="left", title_style="bold")
        for number, column in enumerate(columns):
            words = number in (0, len(columns) - 1)
            table.add_column(column, justify="left" if words else "right", min_width=20 if number and words else None)
        for row in rows:
            table.add_row(*row)
        self.console.print(table)

    @contextmanager
    def step(self, what: str, progress: Path | None = None, expected: float | None = None) -> Iterator[Tick]:
        """Show a step while it goes on.

        Args:
            what: The step, in words.
            progress: The file in which the lab says how far it is (`SAE_LAB_PROGRESS`).
            expected: About how many seconds it takes, shown where the lab says nothing.

        Yields:
            A function to call now and then; it draws what the progress file says.
        """
        if self.style != "rich":
            yield self.check
            return
        started = time.monotonic()
        if self._name or not self.console.is_terminal:
            about = f" (about {duration(expected)})" if expected else ""
            self.say(f"  {what}{about} ...")
            yield self.check
            self.say(f"  {what}: done in {duration(time.monotonic() - started)}")
            return
        from rich.markup import escape
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (
            TextColumn("  {task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as bars:
            task = bars.add_task(what, total=expected)

            def tick() -> None:
                self.check()
                told = read_progress(progress)
                if told is not None:
                    bars.update(task, description=f"{what}: {escape(told[0])}", completed=told[1], total=told[2])
                elif expected:
                    bars.update(task, completed=min(time.monotonic() - started, expected * 0.99), total=expected)

            yield tick
        self.console.print(f"  {what}: done in {duration(time.monotonic() - started)}")

    def _named(self, text: str) -> str:
        return "\n".join(f"[dim]{self._name}[/dim] {line}" for line in text.split("\n")) if self._name else text


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def read_progress(path: Path | None) -> tuple[str, float, float] | None:
    """A step under way, the part of it that is done, and the whole.

    A run may write the file as well as the lab, so nothing in it is relied on: not even that it is a file.

    Args:
        path: Where; None for nowhere.

    Returns:
        None where the file says no such thing.
    """
    try:
        handle = os.open(path or os.devnull, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            told = json.loads(os.read(handle, _LONGEST_PROGRESS))
        finally:
            os.close(handle)
        what, done, total = str(told["what"]), float(told["done"]), float(told["total"])
    except (OSError, ValueError, TypeError, LookupError, RecursionError):
        return None
    return (what[:_LONGEST_STEP], done, total) if 0 <= done < math.inf and 0 < total < math.inf else None
