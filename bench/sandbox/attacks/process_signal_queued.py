"""The same by a queued signal."""

import ctypes
import os

assert ctypes.CDLL(None).sigqueue(int(os.environ["VICTIM"]), 15, None) == 0
