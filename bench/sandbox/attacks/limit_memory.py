"""Hold more memory than is allowed."""
#: passes memory

import time

held = b"x" * 200_000_000
time.sleep(0.3)
