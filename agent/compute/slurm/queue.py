"""The user's jobs as Slurm tells of them: asked for once in a while, however many there are and wait for it."""

import os
import subprocess
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

# What Slurm calls jobs that it will still work on; those that it queues again by itself are among them.
UNDER_WAY = frozenset(
    (
        *("PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING"),
        *("STAGE_OUT", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"),
    )
)
# Those that it ended for a reason that is not theirs.
ENDED_BY_CLUSTER = frozenset(("PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "TIMEOUT", "DEADLINE", "REVOKED"))
_FORMAT = "%i|%T|%M|%r|%j"
_PATIENCE = 120.0
_AT_ONCE = 500


@dataclass(frozen=True)
class QueuedJob:
    """A job as Slurm tells of it.

    Args:
        state: Its state, in Slurm's words.
        seconds: How long it has run.
        reason: Why it waits, or ended; "" where there is none.
        name: Its name.
    """

    state: str
    seconds: int = 0
    reason: str = ""
    name: str = ""

    @property
    def under_way(self) -> bool:
        """True where it will go on."""
        return self.state in UNDER_WAY


class Unanswered(Exception):
    """Slurm did not answer; the message is what its command said."""


class Queue:
    """The jobs of this user. Many threads may ask at a time.

    Args:
        every: How old, in seconds, an answer may become.
    """

    def __init__(self, every: float) -> None:
        self.every = every
        self.calls = 0
        self.trouble = ""
        self._rows: dict[str, QueuedJob] = {}
        self._gone: dict[str, QueuedJob] = {}
        self._watched: set[str] = set()
        self._as_of = self._tried = float("-inf")
        self._accounting = True
        self._asking = threading.Lock()

    @property
    def as_of(self) -> float:
        """The moment at which the newest answer was asked for, on the monotonic clock."""
        return self._as_of

    def watch(self, job: str) -> None:
        """Ask the accounting for this job too, once the queue has forgotten it."""
        self._watched.add(job)

    def unwatch(self, job: str) -> None:
        """Ask for this job no more."""
        self._watched.discard(job)
        self._gone.pop(job, None)

    def row(self, job: str, mark: str) -> QueuedJob | None:
        """A job as of the newest answer.

        Args:
            job: Its number.
            mark: The end of its name; a controller that lost its memory gives numbers anew.

        Returns:
            None where Slurm knows it no more, or not yet.
        """
        row = self._rows.get(job)
        return row if row and row.name.endswith(mark) else self._gone.get(job)

    def refresh(self) -> None:
        """Ask again where the newest answer is too old; while another thread asks, it stays as it is."""
        if time.monotonic() - self._tried < self.every or not self._asking.acquire(blocking=False):
            return
        try:
            if time.monotonic() - self._tried >= self.every:
                self._ask()
        except Unanswered as error:
            self.trouble = str(error)
        finally:
            self._asking.release()

    def rows(self, since: float) -> dict[str, QueuedJob]:
        """All jobs, by an answer that was asked for after a moment.

        Args:
            since: The moment, on the monotonic clock.

        Raises:
            Unanswered: There is none to be had.
        """
        with self._asking:
            if self._as_of < since:
                self._ask()
            return dict(self._rows)

    def _ask(self) -> None:
        self._tried = began = time.monotonic()
        self.calls += 1
        told = slurm("squeue", "--noheader", "--states=all", f"--user={os.getuid()}", f"--format={_FORMAT}")
        rows = read_queue(told)
        forgotten = self._watched - rows.keys()
        if forgotten and self._accounting:
            try:
                self._gone |= read_accounting(slurm("sacct", *_ACCOUNTING, f"--jobs={','.join(sorted(forgotten))}"))
            except Unanswered:  # many clusters keep no accounts
                self._accounting = False
        self._rows, self._as_of, self.trouble = rows, began, ""


_ACCOUNTING = ("--allocations", "--noheader", "--parsable2", "--format=JobIDRaw,State,ElapsedRaw")


def read_queue(told: str) -> dict[str, QueuedJob]:
    """Jobs by id, from what squeue prints."""
    rows = {}
    for line in told.splitlines():
        job, state, ran, reason, name = (line.split("|", 4) + [""] * 5)[:5]
        if state:
            rows[job] = QueuedJob(state, _seconds(ran), "" if reason == "None" else reason, name)
    return rows


def read_accounting(told: str) -> dict[str, QueuedJob]:
    """Jobs by id, from what sacct prints; `CANCELLED by 1000` is a state there."""
    rows = {}
    for line in told.splitlines():
        job, state, ran = (line.split("|") + [""] * 3)[:3]
        # A job that the queue has forgotten goes on nowhere, whatever the accounts say.
        if state and state.split()[0] not in UNDER_WAY:
            rows[job] = QueuedJob(state.split()[0], int(ran) if ran.isdigit() else 0)
    return rows


def cancel(jobs: Iterable[str]) -> None:
    """Cancel jobs; those that have ended are no trouble.

    Raises:
        Unanswered: Slurm did not answer.
    """
    numbers = list(jobs)
    for start in range(0, len(numbers), _AT_ONCE):
        try:
            slurm("scancel", *numbers[start : start + _AT_ONCE])
        except Unanswered as error:
            if "nvalid job id" not in str(error) and "already" not in str(error):
                raise


def slurm(*command: str, text: str | None = None, env: dict[str, str] | None = None) -> str:
    """Return what a command of Slurm's prints.

    Args:
        command: The command and its arguments.
        text: What it reads.
        env: Its environment; this process's when None.

    Raises:
        Unanswered: It failed; with what it said.
    """
    try:
        done = subprocess.run(
            command, input=text, env=env, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except OSError as error:
        raise Unanswered(f"{command[0]}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise Unanswered(f"{command[0]} did not end within {_PATIENCE:.0f} s") from error
    if done.returncode:
        # What went wrong on the way stands before it.
        said = last_line(done.stderr) or f"exit code {done.returncode}"
        raise Unanswered(said.removeprefix(f"{command[0]}: ").removeprefix("error: ").removeprefix("fatal: "))
    return done.stdout


def last_line(text: str) -> str:
    """The last line that says something; "" where none does."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def _seconds(ran: str) -> int:
    """`1-02:03:04`, `02:03:04` or `3:04` in seconds; 0 for anything else."""
    days, _, clock = ran.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in (*parts, days or "0")):
        return 0
    total = 0
    for part in parts:
        total = total * 60 + int(part)
    return total + int(days or 0) * 86_400
