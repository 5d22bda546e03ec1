"""Mount a file system."""
#: root

import ctypes
import sys

libc = ctypes.CDLL(None)
path = sys.argv[1].encode()
assert libc.mount(b"none", path, b"tmpfs", 0, None) == 0
assert libc.umount2(path, 2) == 0
