"""The supervisor: a process that starts a command, watches what it uses, and ends all that came of it.

    (spec as a line of JSON; the pipe stays open) | python -I -S supervise.py | (report as a line of JSON)

When the other end of its standard input closes, because the launcher wants an end or is dead, the command is ended too.
It adopts the orphans of what it started (a subreaper), so that nothing can slip away by forking twice.
"""

import os
import select
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType

from agent.compute.jail import measure
from agent.compute.jail.linux import PR_SET_CHILD_SUBREAPER, prctl
from agent.compute.jail.spec import Ended, ExitReport, Spec
from agent.compute.jail.start import CHUNK, MORE_TASKS, Started, StartError, start

POLL = 0.05
# Walking folders and open files takes at most this share of the time.
SHARE = 0.1


@dataclass
class Watch:
    """The most that was seen of a command so far."""

    spec: Spec
    started: Started
    before: tuple[int, int]
    began: float = field(default_factory=time.monotonic)
    printed: int = 0
    peak: int = 0
    slow_due: float = 0.0
    held: measure.Held = field(default_factory=lambda: measure.Held(0, 0))
    problem: str = ""

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def exceeded(self) -> tuple[Ended, float] | None:
        """The limit that is passed, with how much was used."""
        limits, own = self.spec.limits, MORE_TASKS if self.started.inner else 0
        if limits.seconds is not None and self.seconds > limits.seconds:
            return "time", self.seconds
        processes = measure.tree(os.getpid())[own:]
        if limits.processes is not None and (tasks := measure.threads(processes)) > limits.processes:
            return "processes", tasks
        if (slow := time.monotonic()) >= self.slow_due:
            self.held = measure.held(processes)
            if (passed := self.stored()) is not None:
                return passed
            now = time.monotonic()
            self.slow_due = now + max(POLL, (now - slow) / SHARE)
        own_memory, mapped = measure.memory(processes, limits.memory)
        used = own_memory + max(mapped, self._shared(processes))
        self.peak = max(self.peak, used)
        if limits.memory is not None and used > limits.memory:
            return "memory", used
        return None

    def stored(self) -> tuple[Ended, float] | None:
        """The limit on disk or files that is passed."""
        limits, spec = self.spec.limits, self.spec
        if limits.disk is None:
            return None
        try:
            size, count = measure.folders(_stored_in(spec), limits.files and limits.files + self.before[1])
        except measure.Hidden:
            return "hidden", 0.0
        size, count = size - self.before[0] + self.held.disk, count - self.before[1]
        if limits.files is not None and count > limits.files:
            return "files", count
        return ("disk", size) if size > limits.disk else None

    def _shared(self, processes: list[int]) -> int:
        """Bytes of shared memory, mapped or not: files of the private /dev/shm, open ones without a name."""
        named = measure.in_own_shared_memory(processes[0]) if processes else 0
        return named + self.held.memory


def main() -> None:
    """Run the supervisor."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    # A scheduler or a shell that ends this process wants the command ended.
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGHUP, _stop)
    spec = Spec.load(_line(sys.stdin.fileno()))
    os.set_inheritable(spec.log, False)
    try:
        if spec.private:
            os.mkdir(spec.private, 0o700)
        before = (0, 0) if spec.limits.disk is None else measure.folders(_stored_in(spec))
        report = _watch(spec, start(spec), before)
    except (StartError, OSError) as problem:
        report = ExitReport("start", 1, 0.0, problem=str(problem))
    except Stopped:
        report = ExitReport("launcher", 1, 0.0)
    finally:
        end_all()
    if spec.private:
        _delete(spec.private)
    with suppress(BrokenPipeError):  # nobody is left to be told
        os.write(sys.stdout.fileno(), report.dump())


def _watch(spec: Spec, started: Started, before: tuple[int, int]) -> ExitReport:
    """Stay with a command until it ends or passes a limit; then end what it left."""
    watch = Watch(spec, started, before)
    kills = measure.out_of_memory_kills()
    ended: Ended = "itself"
    figure = 0.0
    handle = os.pidfd_open(started.root)
    poller = select.poll()
    for descriptor in (sys.stdin.fileno(), started.output, handle):
        poller.register(descriptor, select.POLLIN)
    if started.broker is not None:
        poller.register(started.broker.listener, select.POLLIN)
    due = time.monotonic()
    try:
        while True:
            ready = dict(poller.poll(1000 * max(0.0, due - time.monotonic())))
            if started.broker is not None and ready.get(started.broker.listener, 0) & select.POLLIN:
                started.broker.serve()
            elif started.broker is not None and started.broker.listener in ready:
                poller.unregister(started.broker.listener)
            if started.output in ready and not _copy(watch, spec):
                if watch.problem:
                    ended = "log"
                    break
                poller.unregister(started.output)
            if spec.limits.output is not None and watch.printed > spec.limits.output:
                ended, figure = "output", float(watch.printed)
                break
            if sys.stdin.fileno() in ready:
                ended = "launcher"
                break
            if handle in ready:
                break
            if time.monotonic() >= due:
                if (passed := watch.exceeded()) is not None:
                    ended, figure = passed
                    break
                due = time.monotonic() + POLL
    except Stopped:
        ended = "launcher"
    seconds = watch.seconds
    status = end_all(started)
    if ended == "itself":
        while watch.problem == "" and _copy(watch, spec):
            pass
        if spec.limits.output is not None and watch.printed > spec.limits.output:
            ended, figure = "output", float(watch.printed)
        elif (passed := watch.stored()) is not None:
            ended, figure = passed
        if started.status >= 0 and os.WIFEXITED(status) and b"exit-code" not in os.read(started.status, CHUNK):
            raise StartError(_last_line(spec.log))
    code = _exit_code(status, bool(started.inner))
    killed = ended == "itself" and code == -signal.SIGKILL and measure.out_of_memory_kills() > kills
    return ExitReport(ended, code, seconds, figure, watch.peak, killed, watch.problem)


def end_all(started: Started | None = None) -> int:
    """Kill every process that came of this one, until there is none.

    Args:
        started: The command, whose exit status is wanted.

    Returns:
        The status that `wait` gave for it.
    """
    status = 0
    while True:
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                status = found[1] if started and found[0] == started.root else status
        processes = measure.tree(os.getpid())
        if not processes and not _has_children():
            return status
        # A whole group dies at once: a bomb that forks faster than it is listed has no time to.
        for group in {_group(process) for process in processes} - {0, os.getpgrp()}:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        for process in processes:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.001)


def _delete(folder: str) -> None:
    """Delete a folder, which most often is empty; what cannot be deleted like this is left to the launcher."""
    try:
        os.rmdir(folder)
    except OSError:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


class Stopped(BaseException):
    """A signal told this process to stop."""


def _stop(number: int, frame: FrameType | None) -> None:
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise Stopped


def _copy(watch: Watch, spec: Spec) -> bool:
    """Pass output on to the log, up to its limit; False when there is no more, or no place for it."""
    data = os.read(watch.started.output, CHUNK)
    most = spec.limits.output
    room = data if most is None else data[: max(0, most - watch.printed)]
    watch.printed += len(data)
    try:
        while room:
            room = room[os.write(spec.log, room) :]
    except OSError as problem:
        watch.problem = problem.strerror or str(problem)
        return False
    return bool(data)


def _stored_in(spec: Spec) -> list[str]:
    return [*spec.writable, *([spec.private] if spec.private else [])]


def _last_line(log: int) -> str:
    """The end of the log, where bubblewrap says what it could not do."""
    size = os.fstat(log).st_size
    lines = os.pread(log, CHUNK, max(0, size - CHUNK)).decode(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line), "bubblewrap did not start it")


def _line(descriptor: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(descriptor, CHUNK)
        if not part:
            raise SystemExit(1)
        line += part
    return line


def _exit_code(status: int, shell: bool) -> int:
    """The exit code, negative for a signal; bubblewrap tells a signal as shells do."""
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if shell and 128 < code < 128 + signal.NSIG else code


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _group(process: int) -> int:
    try:
        return os.getpgid(process)
    except ProcessLookupError:
        return 0
