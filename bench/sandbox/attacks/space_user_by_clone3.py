"""The same by clone3, whose flags no filter can see."""
#: depends

import ctypes
import os
import struct

child = ctypes.CDLL(None).syscall(435, struct.pack("=8Q", 0x10000000, 0, 0, 0, 17, 0, 0, 0), 64)
if child == 0:
    os._exit(0)
assert child > 0
