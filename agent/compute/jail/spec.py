"""The request to a supervisor, and its answer at the end. Both travel as one line of JSON."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Literal

Way = Literal["bubblewrap", "landlock", "none"]
Passed = Literal["time", "memory", "processes", "disk", "files", "hidden", "output"]
Ended = Passed | Literal["itself", "log", "launcher", "start"]


@dataclass(frozen=True)
class Limits:
    """The most that a command may use; None for no limit.

    Args:
        seconds: Wall-clock time.
        memory: Bytes of memory of all its processes, with what lies in shared memory; mapped files do not count.
        processes: Processes and threads at a time.
        disk: Bytes in its writable folders and its private /tmp, on top of what was there before.
        files: Files and folders there, likewise.
        output: Bytes that it prints.
    """

    seconds: float | None = None
    memory: int | None = None
    processes: int | None = None
    disk: int | None = None
    files: int | None = None
    output: int | None = None


@dataclass(frozen=True)
class Spec:
    """A command and what it may touch; paths are absolute.

    Args:
        way: How it is confined.
        command: The program and its arguments.
        cwd: Its working folder.
        env: Its whole environment.
        readable: Files and folders that it may read.
        listed: Folders whose names it may see, but not what is in their files.
        hidden: Folders beneath the readable ones whose files it may not read.
        writable: Folders that it may change.
        devices: Device nodes that it may use.
        program: Where bubblewrap is; "" without it.
        private: The folder that is its /tmp; "" for the machine's own.
        limits: When it is ended.
        log: The number of the open file that takes its output.
        stdin: The text that it finds on its standard input, kept in memory only.
    """

    way: Way
    command: list[str]
    cwd: str
    env: dict[str, str]
    readable: list[str] = field(default_factory=list)
    listed: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    writable: list[str] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    program: str = ""
    private: str = ""
    limits: Limits = Limits()
    log: int = 1
    stdin: str = ""

    def dump(self) -> bytes:
        """As a line of JSON."""
        return json.dumps(dataclasses.asdict(self)).encode() + b"\n"

    @classmethod
    def load(cls, line: bytes) -> "Spec":
        """From such a line."""
        fields: dict[str, Any] = json.loads(line)
        return cls(**{**fields, "limits": Limits(**fields["limits"])})


@dataclass(frozen=True)
class ExitReport:
    """The end of a command.

    Args:
        ended: What ended it; `itself` also where a signal of another did.
        code: Its exit code; negative for a signal.
        seconds: Wall-clock time.
        figure: How much of the limited thing it used when it was ended, in the limit's unit.
        memory: The most memory it was seen to hold, bytes.
        no_memory: Whether the kernel killed for lack of memory while it ran.
        problem: Why it could not be started, or its output not be kept.
    """

    ended: Ended
    code: int
    seconds: float
    figure: float = 0.0
    memory: int = 0
    no_memory: bool = False
    problem: str = ""

    def dump(self) -> bytes:
        """As a line of JSON."""
        return json.dumps(dataclasses.asdict(self)).encode() + b"\n"

    @classmethod
    def load(cls, line: bytes) -> "ExitReport":
        """From such a line."""
        return cls(**json.loads(line))
