"""Load a program into the kernel."""
#: root

import ctypes
import os
import struct

bpf = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
attributes = struct.pack("=IIII", 2, 4, 4, 1) + bytes(100)
assert ctypes.CDLL(None).syscall(bpf, 0, attributes, 72) >= 0
