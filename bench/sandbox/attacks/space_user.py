"""Make a user namespace, in which everyone is root."""
#: depends

import ctypes

assert ctypes.CDLL(None).unshare(0x10000000) == 0
