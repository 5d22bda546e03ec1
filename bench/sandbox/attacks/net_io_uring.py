"""Set up the queue by which sockets are made without a system call for each."""
#: depends

import ctypes

libc = ctypes.CDLL(None)
assert libc.syscall(425, 4, ctypes.create_string_buffer(120)) >= 0
