"""The system calls that a confined process may make: a seccomp filter, put together by hand for x86-64 and AArch64.

The filter says no to what namespaces and Landlock do not cover, or cover only on some kernels; everything else passes.
Sources: seccomp(2); linux/filter.h, linux/seccomp.h and the kernel's tables of system calls.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass

# Names to numbers on x86-64 and AArch64; None where a machine has no such call.
CALLS: dict[str, tuple[int | None, int | None]] = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chmod": (90, None),
    "chown": (92, None),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "clone": (56, 220),
    "clone3": (435, 435),
    "connect": (42, 203),
    "creat": (85, None),
    "delete_module": (176, 106),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "file_setattr": (469, 469),
    "finit_module": (313, 273),
    "fremovexattr": (199, 16),
    "fsconfig": (431, 431),
    "fsetxattr": (190, 7),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "futimesat": (261, None),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "ioperm": (173, None),
    "iopl": (172, None),
    "ioprio_set": (251, 30),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "kill": (62, 129),
    "lchown": (94, None),
    "lookup_dcookie": (212, 18),
    "lremovexattr": (198, 15),
    "lsetxattr": (189, 6),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "msgctl": (71, 187),
    "msgget": (68, 186),
    "msgrcv": (70, 188),
    "msgsnd": (69, 189),
    "name_to_handle_at": (303, 264),
    "nfsservctl": (180, 42),
    "open": (2, None),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "openat": (257, 56),
    "openat2": (437, 437),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "pivot_root": (155, 41),
    "prlimit64": (302, 261),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "removexattr": (197, 14),
    "removexattrat": (466, 466),
    "request_key": (249, 218),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "seccomp": (317, 277),
    "semctl": (66, 191),
    "semget": (64, 190),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "setpriority": (141, 140),
    "settimeofday": (164, 170),
    "setxattr": (188, 5),
    "setxattrat": (463, 463),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "shmget": (29, 194),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "tgkill": (234, 131),
    "tkill": (200, 130),
    "truncate": (76, 45),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "uselib": (134, None),
    "userfaultfd": (323, 282),
    "utime": (132, None),
    "utimensat": (280, 88),
    "utimes": (235, None),
    "vhangup": (153, 58),
}
# Calls that came later than these tables do not exist for a confined process.
FIRST_UNKNOWN = 470

# In the kernel's terms (linux/audit.h): the machine that a call was made for, and the column in CALLS.
_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}

_KILL, _ERRNO, _NOTIFY, _ALLOW = 0x80000000, 0x00050000, 0x7FC00000, 0x7FFF0000
# Instructions: load a word of the call's record, compare, test bits, mask, return.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16

_NEW_NAMESPACES = 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000 | 0x00020000
_SET_ID = 0o6000
_SOCKET_TYPE = 0xF
_DATAGRAM_BIT = 0x2  # set in the types of datagram and raw sockets, not of streams
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C

# Other processes, the machine as a whole, keys that the kernel keeps, ways round the file system's rules.
_FORBIDDEN = [
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "process_mrelease",
    "pidfd_getfd",
    "kcmp",
    "perf_event_open",
    "bpf",
    "unshare",
    "setns",
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "move_mount",
    "open_tree",
    "open_tree_attr",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "add_key",
    "request_key",
    "keyctl",
    "open_by_handle_at",
    "name_to_handle_at",
    "userfaultfd",
    "seccomp",
    "acct",
    "adjtimex",
    "clock_adjtime",
    "clock_settime",
    "settimeofday",
    "delete_module",
    "init_module",
    "finit_module",
    "kexec_load",
    "kexec_file_load",
    "ioperm",
    "iopl",
    "lookup_dcookie",
    "nfsservctl",
    "quotactl",
    "quotactl_fd",
    "reboot",
    "sethostname",
    "setdomainname",
    "swapon",
    "swapoff",
    "syslog",
    "uselib",
    "vhangup",
    "shmget",
    "shmat",
    "shmctl",
    "semget",
    "semop",
    "semtimedop",
    "semctl",
    "msgget",
    "msgsnd",
    "msgrcv",
    "msgctl",
    "mq_open",
    "mq_unlink",
]
# Callers fall back to older calls, whose arguments a filter can see.
_NOT_THERE = ["clone3", "io_uring_setup", "io_uring_enter", "io_uring_register", "openat2", "fchmodat2", "file_setattr"]
# Landlock does not cover a file's attributes. Programs set their own files' as they write them, so they are told that
# it worked.
_PRETENDED = [
    "chmod",
    "fchmod",
    "fchmodat",
    "chown",
    "fchown",
    "lchown",
    "fchownat",
    "utime",
    "utimes",
    "futimesat",
    "utimensat",
]
_ATTRIBUTES = [
    "setxattr",
    "lsetxattr",
    "fsetxattr",
    "setxattrat",
    "removexattr",
    "lremovexattr",
    "fremovexattr",
    "removexattrat",
]
_SIGNALS = ["kill", "tkill", "tgkill", "pidfd_send_signal", "rt_sigqueueinfo", "rt_tgsigqueueinfo"]


@dataclass(frozen=True)
class Test:
    """A condition on the low half of an argument.

    Args:
        argument: Its place, from 0.
        kind: `is` a value, is `not` a value, or `has` any bit of a value.
        value: That value.
        mask: The bits that are looked at, for `not`.
    """

    argument: int
    kind: str
    value: int
    mask: int = 0xFFFFFFFF

    def code(self, action: int) -> list[bytes]:
        """Return the action when the condition holds, else go on."""
        load = [_op(_LOAD, _ARGUMENTS_AT + 8 * self.argument)]
        if self.kind == "not":
            return [*load, _op(_AND, self.mask), _op(_EQUAL, self.value, 1, 0), _op(_RETURN, action)]
        compare = _EQUAL if self.kind == "is" else _ANY_BIT
        return [*load, _op(compare, self.value, 0, 1), _op(_RETURN, action)]


@dataclass(frozen=True)
class Rule:
    """The fate of one call: the action when any of the tests holds, or always when there is none."""

    call: str
    action: int
    tests: tuple[Test, ...] = ()


def supported() -> bool:
    """Tell whether the filter knows this machine's numbers."""
    return os.uname().machine in _MACHINES


def isolating() -> list[Rule]:
    """The rules for a process in namespaces of its own: only Unix stream sockets, no namespaces, no set-id files."""
    denied = _ERRNO | errno.EPERM
    no_family = _ERRNO | errno.EAFNOSUPPORT
    not_unix = Test(0, "not", socket.AF_UNIX)
    set_id = {"open": 2, "openat": 3, "creat": 1, "mknod": 1, "mknodat": 2, "chmod": 1, "fchmod": 1, "fchmodat": 2}
    return [
        *(Rule(name, denied, (Test(place, "has", _SET_ID),)) for name, place in set_id.items()),
        Rule("ioctl", denied, (Test(1, "is", _TIOCSTI), Test(1, "is", _TIOCLINUX))),
        Rule("clone", denied, (Test(0, "has", _NEW_NAMESPACES),)),
        Rule("socket", no_family, (not_unix, Test(1, "not", socket.SOCK_STREAM, _SOCKET_TYPE))),
        # A pair of datagram sockets may be pointed at any other.
        Rule("socketpair", no_family, (not_unix, Test(1, "has", _DATAGRAM_BIT))),
        *(Rule(name, denied) for name in _FORBIDDEN),
        *(Rule(name, _ERRNO | errno.ENOSYS) for name in _NOT_THERE),
    ]


def sharing(landlock: int) -> list[Rule]:
    """The rules for a process that shares the machine's namespaces and is held by Landlock.

    Args:
        landlock: The version of the kernel's Landlock; what it does not cover yet is refused here.

    Returns:
        Rules, those of `isolating` among them; `connect` is passed to the supervisor.
    """
    denied = _ERRNO | errno.EPERM
    other = Test(0, "not", 0)
    uncovered = [*(("truncate",) if landlock < 3 else ()), *(_SIGNALS if landlock < 6 else ())]
    return [
        Rule("connect", _NOTIFY),
        Rule("prlimit64", denied, (other,)),
        Rule("setpriority", denied, (other, Test(1, "not", 0))),
        Rule("ioprio_set", denied, (Test(0, "not", 1), Test(1, "not", 0))),
        *(Rule(f"sched_set{name}", denied, (other,)) for name in ("affinity", "attr", "param", "scheduler")),
        *(rule for rule in isolating() if rule.call not in _PRETENDED),
        *(Rule(name, _ERRNO) for name in _PRETENDED),
        *(Rule(name, _ERRNO | errno.ENOTSUP) for name in _ATTRIBUTES),
        *(Rule(name, denied) for name in uncovered),
    ]


def assemble(rules: Iterable[Rule], machine: str = "") -> bytes:
    """The filter as the kernel takes it, 8 bytes an instruction.

    Args:
        rules: The first that applies to a call decides.
        machine: `x86_64` or `aarch64`; this one's by default.

    Returns:
        The program.

    Raises:
        KeyError: A call that no table has, or a machine that is not supported.
    """
    mark, column = _MACHINES[machine or os.uname().machine]
    missing = _ERRNO | errno.ENOSYS
    code = [_op(_LOAD, _MACHINE_AT), _op(_EQUAL, mark, 1, 0), _op(_RETURN, _KILL)]
    code += [_op(_LOAD, _NUMBER_AT), _op(_AT_LEAST, FIRST_UNKNOWN, 0, 1), _op(_RETURN, missing)]
    for rule in rules:
        number = CALLS[rule.call][column]
        if number is None:
            continue
        body = [step for test in rule.tests for step in test.code(rule.action)] or [_op(_RETURN, rule.action)]
        code += [_op(_EQUAL, number, 0, len(body)), *body]
        if rule.tests:  # they loaded an argument over the number
            code.append(_op(_LOAD, _NUMBER_AT))
    return b"".join([*code, _op(_RETURN, _ALLOW)])


def _op(code: int, value: int, when_true: int = 0, when_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, when_true, when_false, value)
