"""The files that a process may touch, without namespaces: Landlock, rules that any user may lay on itself.

Source: landlock(7) and linux/landlock.h. Each version of the kernel's interface adds rights that it knows; those that
a kernel lacks are made up for by the seccomp filter (`seccomp.sharing`).
"""

import os
import struct
from collections.abc import Iterable
from contextlib import suppress

from agent.compute.jail.linux import PR_SET_NO_NEW_PRIVS, prctl, syscall

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_WANT_VERSION, _PATH_BENEATH = 1, 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (1 << bit for bit in range(6, 13))
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
# The number of rights by version.
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_TCP_BIND_AND_CONNECT = 3
_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 3

READ = EXECUTE | READ_FILE | READ_DIR
WRITE = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_FIFO | MAKE_SYM
WRITE |= REFER | TRUNCATE
DEVICE = READ_FILE | WRITE_FILE | IOCTL_DEV
# Semaphores and shared memory by name; the names of others' can't be listed.
SHARED_MEMORY = READ_FILE | WRITE_FILE | MAKE_REG | REMOVE_FILE | TRUNCATE
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV


def version() -> int:
    """The version of Landlock that the kernel has; 0 where it has none."""
    try:
        return syscall(_CREATE, 0, 0, _WANT_VERSION)
    except OSError:
        return 0


def restrict(grants: Iterable[tuple[str, int]], known: int) -> None:
    """Give up, for good and for every child, all rights to files but those granted.

    Other processes can then be neither traced nor read, and from version 6 on not be sent signals.

    Args:
        grants: Paths with what may be done to them and beneath them; one that is not there is passed over.
        known: The version of the rules to use, at most the kernel's.

    Raises:
        OSError: The kernel has no Landlock, or it is turned off.
    """
    handled = (1 << _RIGHTS.get(known, 16)) - 1
    fields = [handled, *([_TCP_BIND_AND_CONNECT] if known >= 4 else [])]
    fields += [_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS] if known >= 6 else []
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = syscall(_CREATE, attributes, len(attributes), 0)
    for path, rights in grants:
        with suppress(FileNotFoundError, NotADirectoryError):
            _grant(ruleset, path, rights & handled)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    syscall(_RESTRICT, ruleset, 0)
    os.close(ruleset)


def _grant(ruleset: int, path: str, rights: int) -> None:
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rights &= ~0 if os.path.isdir(path) else _OF_FILES
        syscall(_ADD, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, handle), 0)
    finally:
        os.close(handle)
