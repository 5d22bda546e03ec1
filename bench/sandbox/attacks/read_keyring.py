"""Read a key that the kernel keeps for the session."""
#: depends

import ctypes
import os

keyctl = {"x86_64": 250, "aarch64": 219}[os.uname().machine]
libc = ctypes.CDLL(None)
text = ctypes.create_string_buffer(64)
assert libc.syscall(keyctl, 11, int(os.environ["KEYRING_KEY"]), text, 64) > 0
