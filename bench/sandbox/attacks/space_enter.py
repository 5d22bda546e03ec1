"""Enter the namespaces of another process."""
#: root

import ctypes
import os

handle = os.open(f"/proc/{os.environ['VICTIM']}/ns/net", os.O_RDONLY)
assert ctypes.CDLL(None).setns(handle, 0) == 0
