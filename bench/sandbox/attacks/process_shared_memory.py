"""Attach to System V shared memory of another process."""
#: depends

import ctypes
import os

libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
address = libc.shmat(int(os.environ["SYSV"]), None, 0)
assert ctypes.string_at(address, 3) == b"sk-"
