"""Starts a command confined: in namespaces by bubblewrap, or under Landlock and seccomp laid on by itself."""

import json
import os
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from agent.compute.jail import bubblewrap, landlock, measure, seccomp
from agent.compute.jail.broker import Broker, install
from agent.compute.jail.linux import PR_SET_PDEATHSIG, drop_capabilities, own_tmpfs, prctl
from agent.compute.jail.spec import Spec

CHUNK = 1 << 16
MORE_TASKS = 2  # bubblewrap and the first process in its namespace
OOM_FIRST = 500
FILE_LIMIT = 65536


class StartError(Exception):
    """The command could not be started; the message says why."""


@dataclass
class Started:
    """A command under way.

    Args:
        root: The process that was started, a child of this one.
        output: The end of the pipe that its output comes from.
        inner: The first process of its own namespace; 0 where it has none.
        status: Where bubblewrap says how the command ended; -1 without it.
        broker: Who answers its questions, where it may ask.
    """

    root: int
    output: int
    inner: int = 0
    status: int = -1
    broker: Broker | None = None


def start(spec: Spec) -> Started:
    """Start a command.

    Args:
        spec: What, and what it may touch.

    Raises:
        StartError: It could not be confined, or is not there.
    """
    if spec.way == "bubblewrap":
        return _start_in_namespaces(spec)
    output, theirs = os.pipe()
    trouble, told = os.pipe()
    here, there = socket.socketpair()
    child = os.fork()
    if child == 0:
        _become(spec, theirs, told, there)
    for descriptor in (theirs, told):
        os.close(descriptor)
    there.close()
    listeners = socket.recv_fds(here, 1, 1)[1] if spec.way == "landlock" else []
    here.close()
    with os.fdopen(trouble, "rb") as reader:
        problem = reader.read().decode(errors="replace")
    if problem or (spec.way == "landlock" and not listeners):
        raise StartError(problem or "the sandbox could not be set up")
    return Started(child, output, broker=Broker(listeners[0], spec.private) if listeners else None)


def _become(spec: Spec, output: int, told: int, asking: socket.socket) -> None:
    """In the child: lay the rules on itself and turn into the command. Never returns."""
    try:
        _settle_down(spec, output)
        os.chdir(spec.cwd)
        if spec.way == "landlock":
            apart = False
            # Where none may be made, shared memory is the machine's, and only the names in it are hidden.
            with suppress(OSError):
                apart = own_tmpfs(measure.SHARED_MEMORY, spec.limits.memory)
            _limit_tasks(spec, apart)
            drop_capabilities()
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a change of rights may have undone it
            known = landlock.version()
            landlock.restrict(_grants(spec), known)
            listener = install(seccomp.assemble(seccomp.sharing(known)))
            socket.send_fds(asking, [b"x"], [listener])
            os.close(listener)
        os.execvpe(spec.command[0], spec.command, spec.env)
    except OSError as problem:
        os.write(told, f"{spec.command[0]}: {problem.strerror or problem}".encode())
    os._exit(127)


def _start_in_namespaces(spec: Spec) -> Started:
    output, theirs = os.pipe()
    told, telling = os.pipe()
    waiting, letting = os.pipe()
    options = b"".join(os.fsencode(option) + b"\0" for option in bubblewrap.arguments(spec))
    files = {"--args": _memory_file(options), "--seccomp": _memory_file(seccomp.assemble(seccomp.isolating()))}
    passed = {**files, "--json-status-fd": telling, "--block-fd": waiting}
    command = [spec.program, *(word for name, number in passed.items() for word in (name, str(number)))]
    child = os.fork()
    if child == 0:
        try:
            _settle_down(spec, theirs)
            for number in passed.values():
                os.set_inheritable(number, True)
            # An empty environment: that of bubblewrap's first process could be read inside.
            os.execve(spec.program, [*command, "--", *spec.command], {})
        except OSError as problem:
            os.write(1, f"{spec.program}: {problem.strerror}\n".encode())
        os._exit(127)
    for descriptor in (theirs, *passed.values()):
        os.close(descriptor)
    said = b""
    while b"\n" not in said and (part := os.read(told, CHUNK)):
        said += part
    if not said:
        raise StartError(os.read(output, CHUNK).decode(errors="replace").strip() or "bubblewrap did not start")
    inner = int(json.loads(said)["child-pid"])
    if spec.limits.processes is not None and os.geteuid():
        # From outside and only now: set before, it would count all that the user runs on the machine.
        most = spec.limits.processes + MORE_TASKS
        resource.prlimit(inner, resource.RLIMIT_NPROC, (most, most))
    os.write(letting, b"x")
    os.close(letting)
    return Started(child, output, inner, told)


def _settle_down(spec: Spec, output: int) -> None:
    """In the child: its own session, the input it is given, its output into the pipe, and the kernel's limits."""
    for changed in (signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(changed, signal.SIG_DFL)
    os.setsid()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    given = _memory_file(spec.stdin.encode()) if spec.stdin else os.open(os.devnull, os.O_RDONLY)
    for number, source in ((0, given), (1, output), (2, output)):
        os.dup2(source, number)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILE_LIMIT if most == resource.RLIM_INFINITY else min(most, FILE_LIMIT)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if spec.limits.disk is not None:
        # Of one file, which may lie in memory too; the sum is watched.
        size = max(spec.limits.disk, spec.limits.memory or 0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    # When the machine runs out of memory, this goes first, not the launcher.
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:
        score.write(str(OOM_FIRST))


def _limit_tasks(spec: Spec, apart: bool) -> None:
    """Have the kernel limit the tasks: it never counts root's, and all of a user's where that has no namespace."""
    if spec.limits.processes is None or os.geteuid() == 0:
        return
    running = [] if apart else [int(name) for name in os.listdir("/proc") if name.isdigit()]
    mine = [process for process in running if _owner(process) == os.geteuid()]
    most = spec.limits.processes + measure.threads(mine)
    resource.setrlimit(resource.RLIMIT_NPROC, (most, most))


def _grants(spec: Spec) -> list[tuple[str, int]]:
    return [
        ("/proc", landlock.READ_FILE | landlock.READ_DIR),
        (measure.SHARED_MEMORY, landlock.SHARED_MEMORY),
        *((f"/dev/{name}", landlock.DEVICE) for name in ("null", "zero", "full", "random", "urandom")),
        *((path, landlock.DEVICE) for path in spec.devices),
        *(grant for path in spec.readable for grant in _readable(path, spec.hidden)),
        *((path, landlock.READ_DIR) for path in spec.listed),
        *((path, landlock.WRITE) for path in [*spec.writable, *([spec.private] if spec.private else [])]),
    ]


def _readable(path: str, hidden: list[str]) -> Iterator[tuple[str, int]]:
    """A path with the right to read it; of one with something hidden beneath, all that lies beside that.

    Landlock takes nothing back from beneath a path that it grants, so the names in what is hidden can be seen.
    """
    real = os.path.realpath(path)
    if real in hidden:
        return
    if not any(other.startswith(real + "/") for other in hidden):
        yield path, landlock.READ
        return
    yield path, landlock.READ_DIR
    with os.scandir(path) as entries:
        # What a link leads to is granted where it lies, or not at all.
        beside = [entry.path for entry in entries if not entry.is_symlink()]
    for other in beside:
        yield from _readable(other, hidden)


def _memory_file(content: bytes) -> int:
    handle = os.memfd_create("options", os.MFD_CLOEXEC)
    os.write(handle, content)
    os.lseek(handle, 0, os.SEEK_SET)
    return handle


def _owner(process: int) -> int:
    try:
        return os.stat(f"/proc/{process}").st_uid
    except OSError:
        return -1
