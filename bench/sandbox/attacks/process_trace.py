"""Attach to another process as a debugger."""

import ctypes
import os

assert ctypes.CDLL(None).ptrace(16, int(os.environ["VICTIM"]), None, None) == 0
