"""The same by the system call made for it."""

import ctypes
import os

text = ctypes.create_string_buffer(9)
here = (ctypes.c_void_p * 2)(ctypes.addressof(text), 9)
there = (ctypes.c_void_p * 2)(int(os.environ["ADDRESS"]), 9)
assert ctypes.CDLL(None).process_vm_readv(int(os.environ["VICTIM"]), here, 1, there, 1, 0) == 9
