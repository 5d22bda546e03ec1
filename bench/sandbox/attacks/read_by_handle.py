"""Open a file by its number in the file system, past its folders."""
#: root

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)
handle, mount = ctypes.create_string_buffer(136), ctypes.c_int()
ctypes.memmove(handle, (128).to_bytes(4, "little"), 4)
assert libc.name_to_handle_at(-100, os.environ["SECRET"].encode(), handle, ctypes.byref(mount), 0) == 0
opened = libc.open_by_handle_at(os.open("/", os.O_RDONLY), handle, os.O_RDONLY)
assert b"sk-" in os.read(opened, 100)
