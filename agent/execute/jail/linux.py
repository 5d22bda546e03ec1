"""Calls to the kernel that Python has no function for."""

import ctypes
import os
import struct

PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 24, 36, 38
PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def syscall(number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char]) -> int:
    """A raw system call.

    Raises:
        OSError: The kernel said no.
    """
    given = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *given))


def prctl(option: int, *arguments: int) -> int:
    """An operation on the calling process.

    Raises:
        OSError: The kernel said no.
    """
    padded = [*arguments, 0, 0, 0, 0][:4]
    return _checked(_libc.prctl(option, *map(ctypes.c_ulong, padded)))


def drop_capabilities() -> None:
    """Give up every special right of root, also for the programs that are started later."""
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        last = int(file.read())
    if os.geteuid() == 0:
        for capability in range(last + 1):
            prctl(PR_CAPBSET_DROP, capability)
    prctl(PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    head, sets = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), bytes(24)
    syscall(_CAPSET[os.uname().machine], head, sets)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(result)
