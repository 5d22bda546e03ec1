"""Lay a filter of one's own on the system calls, and answer for the kernel."""

import ctypes
import os
import struct

seccomp = {"x86_64": 317, "aarch64": 277}[os.uname().machine]
libc = ctypes.CDLL(None)
libc.prctl(38, 1, 0, 0, 0)
code = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000), 8)
assert libc.syscall(seccomp, 1, 8, struct.pack("@HP", 1, ctypes.addressof(code))) >= 0
