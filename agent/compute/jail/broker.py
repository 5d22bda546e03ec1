"""Unix sockets for a process under Landlock: it may connect only to those that lie in its own /tmp.

Landlock does not cover sockets in the file system, and programs need some: multiprocessing passes tensors over them.
So the filter stops each `connect` and asks the supervisor, who looks the socket up beneath that one folder, never
through a link, and connects it in the program's place. What the program could change meanwhile is not looked at twice.
Source: seccomp_unotify(2).
"""

import array
import errno
import fcntl
import os
import socket
import stat
import struct
import threading
from contextlib import ExitStack

from agent.compute.jail.linux import syscall

_LISTENER_FLAG, _SET_FILTER = 8, 1
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_OPENAT2, _PIDFD_GETFD = 437, 438
_RECEIVE, _SEND, _STILL_THERE = 0xC0502100, 0xC0182101, 0x40082102
# struct seccomp_notif: id, thread, flags, then the call: number, machine, instruction, six arguments.
_REQUEST = struct.Struct("=QIIiIQ6Q")
_ANSWER = struct.Struct("=QqiI")
_LONGEST_ADDRESS = 110
_BENEATH_NO_LINKS = 0x08 | 0x04 | 0x02
_AT_ONCE = 64


def install(program: bytes) -> int:
    """Lay a filter on this process that may ask.

    Args:
        program: As `seccomp.assemble` gives it.

    Returns:
        The file descriptor at which its questions come in.
    """
    code = array.array("B", program)
    address, _ = code.buffer_info()
    return syscall(
        _SECCOMP[os.uname().machine], _SET_FILTER, _LISTENER_FLAG, struct.pack("@HL", len(program) // 8, address)
    )


class Broker:
    """Answers the questions of one run.

    Args:
        listener: Where they come in.
        folder: The only folder with sockets that may be connected to.
    """

    def __init__(self, listener: int, folder: str) -> None:
        self.listener = listener
        self._folder = folder
        self._handle = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._room = threading.BoundedSemaphore(_AT_ONCE)

    def serve(self) -> None:
        """Take one question; it is answered in a thread, since connecting waits until the other side listens."""
        buffer = bytearray(_REQUEST.size)
        try:
            fcntl.ioctl(self.listener, _RECEIVE, buffer)
        except OSError:  # its process has ended
            return
        question, thread, _, _, _, _, *arguments = _REQUEST.unpack(buffer)
        if not self._room.acquire(blocking=False):
            self._answer(question, errno.EAGAIN)
            return
        threading.Thread(target=self._settle, args=(question, thread, arguments), daemon=True).start()

    def _settle(self, question: int, thread: int, arguments: list[int]) -> None:
        try:
            self._connect(question, thread, *arguments[:3])
            error = 0
        except OSError as problem:
            error = problem.errno or errno.EPERM
        finally:
            self._room.release()
        self._answer(question, error)

    def _connect(self, question: int, thread: int, number: int, address: int, length: int) -> None:
        if not 2 < length <= _LONGEST_ADDRESS:
            raise OSError(errno.EINVAL, "")
        with ExitStack() as closing:
            memory = _closed_by(closing, os.open(f"/proc/{thread}/mem", os.O_RDONLY | os.O_CLOEXEC))
            raw = os.pread(memory, length, address)
            # Only now is it sure that what was read is that process's and not a later one's of the same number.
            fcntl.ioctl(self.listener, _STILL_THERE, struct.pack("=Q", question))
            target = _closed_by(closing, self._find(raw))
            process = _closed_by(closing, os.pidfd_open(_process_of(thread)))
            theirs = _closed_by(closing, syscall(_PIDFD_GETFD, process, number, 0))
            connection = socket.socket(fileno=theirs)
            closing.callback(connection.detach)
            connection.connect(f"/proc/self/fd/{target}")

    def _find(self, raw: bytes) -> int:
        """The socket of an address, open as a path, found beneath the folder without following a link."""
        name = os.fsdecode(raw[2:].split(b"\0")[0])
        if int.from_bytes(raw[:2], "little") != socket.AF_UNIX or not name.startswith(self._folder + "/"):
            raise OSError(errno.EPERM, "")
        how = struct.pack("=QQQ", os.O_PATH | os.O_CLOEXEC, 0, _BENEATH_NO_LINKS)
        below = os.fsencode(name[len(self._folder) + 1 :]) + b"\0"
        found = syscall(_OPENAT2, self._handle, below, how, len(how))
        if not stat.S_ISSOCK(os.fstat(found).st_mode):
            os.close(found)
            raise OSError(errno.ECONNREFUSED, "")
        return found

    def _answer(self, question: int, error: int) -> None:
        try:
            fcntl.ioctl(self.listener, _SEND, bytearray(_ANSWER.pack(question, 0, -error, 0)))
        except OSError:  # who asked has ended meanwhile
            pass


def _closed_by(closing: ExitStack, handle: int) -> int:
    closing.callback(os.close, handle)
    return handle


def _process_of(thread: int) -> int:
    with open(f"/proc/{thread}/status", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("Tgid:"):
                return int(line.split()[1])
    raise ProcessLookupError(errno.ESRCH, "")
