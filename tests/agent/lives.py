"""Launchers that are forked from one process which has imported all they need, and killed or disturbed at a moment.

A moment is something that a launcher does to files, processes or the network; Python tells of it before it is done
(audit events), `fsync` is counted besides. So a moment hits the gaps of a millisecond between two writes, which a
time would not. `Lives` starts the process, `python -m tests.agent.lives` is that process.
"""

from __future__ import annotations

import importlib
import json
import mmap
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]
GRACE = 10.0
FILLER = "filler"
MOMENTS = {
    "subprocess.Popen": "start",
    "socket.connect": "connect",
    "fcntl.flock": "lock",
    **{f"os.{name}": name for name in ("rename", "remove", "mkdir", "rmdir", "chmod", "truncate", "link", "symlink")},
}
# What a launcher imports on its way.
MODULES = (
    *("agent.launch", "agent.cli.begin", "agent.loop", "agent.cli.side_by_side"),
    *(
        "agent.report.review.collect",
        "agent.edit.gate",
        "agent.compute.local_executor",
        "agent.models.openai",
        "agent.edit.store",
        "lab.cache",
        "lab.evals.core",
        "lab.grid",
        "git.cmd",
        "jinja2",
    ),
    *("rich.console", "rich.table", "openai", "httpx", "filelock", "scipy.special", "pygments"),
)


@dataclass(frozen=True)
class Life:
    """The start of a launcher and what befalls it.

    Args:
        arguments: Of `python -m agent.launch`.
        env: More of its environment.
        log: A file that takes a line for each moment: its kind and what it is about.
        die: It kills itself with SIGKILL at this moment, from 1; 0 for never.
        after: It is killed after so many seconds; 0 for never.
        fill: At this moment the disk of this folder is filled to the last byte.
        disk: The folder.
        clock: Its clock jumps by years at every look.
    """

    arguments: list[str]
    env: dict[str, str] = field(default_factory=dict)
    log: str = os.devnull
    die: int = 0
    after: float = 0.0
    fill: int = 0
    disk: str = ""
    clock: int = 0


@dataclass(frozen=True)
class Death:
    """The end of a launcher: exit code (negative for a signal), output, moments lived, processes it left behind."""

    code: int
    out: str
    err: str
    moments: int
    seconds: float
    left: list[str]


class Lives:
    """The process that launchers are forked from; a context manager."""

    def __enter__(self) -> Lives:
        command = [sys.executable, "-m", "tests.agent.lives"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *unused: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)

    def live(self, life: Life) -> Death:
        """Have a launcher live until it ends or is killed, and see what it leaves running."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(life)) + "\n")
        self._process.stdin.flush()
        return Death(**json.loads(self._process.stdout.readline()))


def main() -> None:
    """Fork a launcher for each line, and say how it ended."""
    from agent.compute.jail.linux import PR_SET_CHILD_SUBREAPER, prctl

    for name in MODULES:
        importlib.import_module(name)
    prctl(PR_SET_CHILD_SUBREAPER, 1)  # what a launcher leaves running becomes a child of this process
    for line in sys.stdin:
        sys.stdout.write(json.dumps(asdict(_live(Life(**json.loads(line))))) + "\n")
        sys.stdout.flush()


def _live(life: Life) -> Death:
    out, err, moments = os.memfd_create("out"), os.memfd_create("err"), mmap.mmap(-1, 8)
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        os.dup2(out, 1)
        os.dup2(err, 2)
        _become(life, moments)
    ended, status = 0, 0
    while ended != child:
        if life.after and time.monotonic() - began > life.after:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.005)
        ended, status = os.waitpid(child, os.WNOHANG)
    seconds = time.monotonic() - began
    told, wrong = (os.pread(handle, os.fstat(handle).st_size, 0).decode() for handle in (out, err))
    for handle in (out, err):
        os.close(handle)
    code = os.waitstatus_to_exitcode(status)
    return Death(code, told, wrong, int.from_bytes(moments[:8], "little"), seconds, _left_behind())


def _left_behind() -> list[str]:
    """The command lines of processes that do not end by themselves within the grace; they are ended then."""
    until = time.monotonic() + GRACE
    with suppress(ChildProcessError):
        while time.monotonic() < until:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                time.sleep(0.005)
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        told = [Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode() for child in children]
        for child in children:
            os.kill(int(child), signal.SIGKILL)
            os.waitpid(int(child), 0)
        return told
    return []


def _become(life: Life, moments: mmap.mmap) -> NoReturn:
    """In the child: be a launcher."""
    from agent.launch import main as launch
    from tests.agent.seeded import fix

    os.environ.update(life.env)
    tempfile.tempdir = None
    # Campaigns that are compared have to be given the same seeds.
    fix()
    if life.clock:
        _shake_clocks(random.Random(life.clock))
    told = os.open(life.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    busy = False

    def meet(kind: str, where: str) -> None:
        nonlocal busy
        if busy:
            return
        number = int.from_bytes(moments[:8], "little") + 1
        moments[:8] = number.to_bytes(8, "little")
        os.write(told, f"{kind} {where}\n".encode())
        if number == life.die:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == life.fill:
            busy = True
            fill(Path(life.disk))
            busy = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and isinstance(path, str | os.PathLike):
                meet("write", os.fspath(path))
        elif event in MOMENTS:
            meet(MOMENTS[event], str(arguments[0]))

    sync = os.fsync

    def fsync(fd: Any) -> None:
        meet("sync", str(fd))
        sync(fd)

    os.fsync = fsync
    sys.addaudithook(hook)
    sys.exit(launch(life.arguments))


def fill(disk: Path) -> None:
    """Write into a disk until it takes no more byte."""
    with (disk / FILLER).open("ab", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2


def _shake_clocks(dice: random.Random) -> None:
    """Make every look at the date or the time of day a jump of up to ten years."""
    true_time = time.time

    class Jumping(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + timedelta(days=dice.randint(-3650, 3650))

    for name, module in list(sys.modules.items()):
        if name.startswith("agent.") and getattr(module, "datetime", None) is datetime:
            module.datetime = Jumping  # type: ignore[attr-defined]
    time.time = lambda: true_time() + dice.uniform(-3e8, 3e8)


if __name__ == "__main__":
    main()
