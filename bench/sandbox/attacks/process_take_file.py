"""Take an open file out of another process."""

import ctypes
import os

handle = os.pidfd_open(int(os.environ["VICTIM"]))
assert ctypes.CDLL(None).syscall(438, handle, 0, 0) >= 0
