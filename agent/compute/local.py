"""Runs a command on this machine under a supervisor: its output streamed to a file, within limits, in a sandbox."""

import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from agent.base.errors import AgentError
from agent.base.files import write_atomically
from agent.base.places import CODE
from agent.compute.jail.spec import Ended, ExitReport, Limits, Spec, Way

# A supervisor that was told to end has this many seconds.
PATIENCE = 20.0
POLL = 0.1
_SUPERVISOR = "import sys; sys.path.insert(0, sys.argv[1]); from agent.compute.jail.supervise import main; main()"
_OPEN = Spec("none", [], "", {})


@dataclass(frozen=True)
class ProcessResult:
    """The end of a command.

    Args:
        code: Its exit code; negative for a signal.
        seconds: Wall-clock time.
        log: Its output, both streams in the order written.
        ended: What ended it: `itself`, or the limit that it passed.
        figure: How much it had used of what is limited.
        limits: What it was allowed.
        memory: The most memory it was seen to hold, bytes.
        no_memory: Whether it was killed because no memory was left: the machine's, or what a cluster allowed its job.
        allowed: What a cluster allowed its job, bytes, where that was the end of it; 0 elsewhere.
        way: What contained it: the way of `agent.compute.sandbox` that worked where it ran; "" where that is not known.
    """

    code: int
    seconds: float
    log: Path
    ended: Ended = "itself"
    figure: float = 0.0
    limits: Limits = field(default_factory=Limits)
    memory: int = 0
    no_memory: bool = False
    allowed: int = 0
    way: Way | Literal[""] = ""

    @property
    def ok(self) -> bool:
        """True where it ended by itself and well."""
        return self.code == 0 and self.ended == "itself"

    @property
    def timed_out(self) -> bool:
        """True where the time limit ended it."""
        return self.ended == "time"

    def reason(self, limit: float) -> str:
        """In plain words, what ended it.

        Args:
            limit: The time limit, seconds.
        """
        if self.timed_out:
            return f"stopped at the time limit of {limit:.0f} s"
        if self.ended in _PASSED:
            what, shown = _PASSED[self.ended]
            allowed = getattr(self.limits, self.ended)
            used = f"it {what} {shown(self.figure)}, and {shown(allowed)} are allowed"
            return f"stopped after {self.seconds:.0f} s: {used}"
        if self.ended == "hidden":
            return f"stopped after {self.seconds:.0f} s: it made folders that are closed or too deep to be looked into"
        if self.allowed:
            return (
                f"killed after {self.seconds:.0f} s: its job on the cluster may hold {_bytes(self.allowed)} of memory"
            )
        if self.no_memory:
            return f"killed after {self.seconds:.0f} s: the machine had no memory left (it held {_bytes(self.memory)})"
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
    box: Spec = _OPEN,
    stdin: str = "",
) -> ProcessResult:
    """Run a command to its end, or to a limit, and end everything that it started.

    Args:
        command: The program and its arguments.
        cwd: Its working folder.
        env: Its whole environment.
        log: The file that takes its output as it comes.
        seconds: The time limit.
        tick: Called about ten times a second while it runs.
        box: What it may touch and use (`agent.compute.sandbox`); by default all that the user may.
        stdin: The text that it finds on its standard input; only memory holds it.

    Returns:
        How it ended. When the caller is interrupted, the command is ended first.

    Raises:
        AgentError: It could not be started, or its output could not be kept.
    """
    limits = replace(box.limits, seconds=seconds)
    # A log that a run could have put there is not followed to where it leads.
    try:
        handle = os.open(log, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise AgentError(f"cannot write {log}: {error.strerror}; fix the rights") from error
    try:
        spec = replace(box, command=list(command), cwd=str(cwd), env=dict(env), limits=limits, log=handle, stdin=stdin)
        report = _supervised(spec, tick)
        _keep_log(handle, log)
    finally:
        os.close(handle)
    if report.ended == "start":
        raise AgentError(f"{command[0]} cannot be started: {report.problem}")
    if report.ended == "log":
        raise AgentError(f"cannot write {log}: {report.problem}; free the space")
    fields = (report.ended, report.figure, limits, report.memory, report.no_memory)
    return ProcessResult(report.code, report.seconds, log, *fields, way=box.way)


def _supervised(spec: Spec, tick: Callable[[], None]) -> ExitReport:
    """Have a supervisor run the spec, and end it when the caller is interrupted."""
    process = subprocess.Popen(
        # Nothing of the caller's environment, where keys may be, is in the supervisor's or beneath it.
        [sys.executable, "-I", "-S", "-c", _SUPERVISOR, str(CODE)],
        env={},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(spec.log,),
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(spec.dump())
        process.stdin.flush()
        while True:
            # Readable when it reports, or is dead.
            if select.select([process.stdout], [], [], POLL)[0]:
                break
            tick()
    finally:
        process.stdin.close()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        told = process.stdout.read()
        process.stdout.close()
    if not told:
        raise AgentError(f"the supervisor of {spec.command[0]} ended with {process.returncode} and said nothing")
    return ExitReport.load(told)


def _keep_log(handle: int, log: Path) -> None:
    """Put the log back where a command deleted it, or put something else in its place."""
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(handle), log.lstat()):
            return
    if log.is_dir() and not log.is_symlink():
        shutil.rmtree(log)
    write_atomically(log, os.pread(handle, os.fstat(handle).st_size, 0))


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


def _bytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


_PASSED: dict[str, tuple[str, Callable[[float], str]]] = {
    "memory": ("held memory of", _bytes),
    "processes": ("had as processes and threads", lambda count: f"{count:,.0f}"),
    "disk": ("had written", _bytes),
    "files": ("had made as files", lambda count: f"{count:,.0f}"),
    "output": ("had printed", _bytes),
}
