"""Read the kernel's log."""
#: depends
#: root

import ctypes

assert ctypes.CDLL(None).klogctl(3, ctypes.create_string_buffer(1000), 1000) >= 0
