"""Calls to the kernel that Python has no function for."""

import ctypes
import os
import struct

PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 24, 36, 38
PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPSET = {"x86_64": 126, "aarch64": 91}
_UNSHARE = {"x86_64": 272, "aarch64": 97}
_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000
_NO_SET_ID, _NO_DEVICES, _RECURSIVE, _PRIVATE = 2, 4, 1 << 14, 1 << 18
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


def own_tmpfs(folder: str, size: int | None) -> bool:
    """Lay a file system in memory over a folder, for this process and its children alone.

    Args:
        folder: Where.
        size: Bytes that it holds; None for the kernel's half of the memory.

    Returns:
        Whether this user has now a namespace of its own, in which its processes are counted apart.

    Raises:
        OSError: The kernel, or what this runs in, does not let this user have one.
    """
    user, group = os.geteuid(), os.getegid()
    apart = _NEW_USER if user else 0
    syscall(_UNSHARE[os.uname().machine], _NEW_MOUNTS | apart)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        if apart:
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    options = b"mode=1777" + (b"" if size is None else b",size=%d" % size)
    _checked(_libc.mount(b"none", b"/", None, ctypes.c_ulong(_RECURSIVE | _PRIVATE), None))
    flags = ctypes.c_ulong(_NO_SET_ID | _NO_DEVICES)
    _checked(_libc.mount(b"shm", folder.encode(), b"tmpfs", flags, options))
    return bool(apart)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(result)
