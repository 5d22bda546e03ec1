"""Runs a command on this machine: its own process group, its output streamed to a file, a time limit."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# A process that ignores the polite signal is killed after this many seconds.
GRACE = 5.0
POLL = 0.1
PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True)
class Result:
    """How a command ended.

    Args:
        code: Its exit code; negative for a signal.
        seconds: Wall-clock time.
        timed_out: Whether the time limit ended it.
        log: Its output, both streams in the order written.
    """

    code: int
    seconds: float
    timed_out: bool
    log: Path

    @property
    def ok(self) -> bool:
        """Whether it ended by itself and well."""
        return self.code == 0 and not self.timed_out

    def reason(self, limit: float) -> str:
        """In plain words, what ended it."""
        if self.timed_out:
            return f"stopped at the time limit of {limit:.0f} s"
        if self.code < 0:
            return f"killed by {signal.Signals(-self.code).name} after {self.seconds:.0f} s"
        return f"exit code {self.code} after {self.seconds:.0f} s"


def run(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    log: Path,
    seconds: float,
    tick: Callable[[], None] = lambda: None,
) -> Result:
    """Run a command to its end, or to its limit, and end everything that it started.

    Args:
        command: The program and its arguments.
        cwd: Its working folder.
        env: Its whole environment.
        log: The file that takes its output as it comes.
        seconds: The time limit.
        tick: Called about ten times a second while it runs.

    Returns:
        How it ended. When the caller is interrupted, the command is ended first.
    """
    started = time.monotonic()
    timed_out = False
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_the_launcher,
        )
        try:
            while True:
                try:
                    process.wait(POLL)
                    break
                except subprocess.TimeoutExpired:
                    tick()
                if time.monotonic() - started > seconds:
                    timed_out = True
                    break
        finally:
            _end_group(process)
    return Result(process.returncode, time.monotonic() - started, timed_out, log)


def tail(log: Path, characters: int = 1500) -> str:
    """The end of a log, cut at a line's start where that is possible.

    Args:
        log: The file.
        characters: The most that is returned.

    Returns:
        The text; a long traceback keeps its last frames and its message.
    """
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 8 * characters))
        text = file.read().decode("utf-8", errors="replace").strip()
    start = text.rfind("Traceback (most recent call last)")
    text = text[start:] if start >= 0 else text
    if len(text) <= characters:
        return text
    cut = text[-(characters - 4) :]
    newline = cut.find("\n")
    return "...\n" + (cut[newline + 1 :] if 0 <= newline < len(cut) // 2 else cut)


def _die_with_the_launcher() -> None:
    """In the child: a launcher that is killed leaves no run behind that would write beside the resumed one."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the command and what it left running in its group."""
    for sign, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        end = time.monotonic() + patience
        while time.monotonic() < end and _group_lives(process):
            time.sleep(0.01)
    process.wait()


def _group_lives(process: subprocess.Popen[bytes]) -> bool:
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True
