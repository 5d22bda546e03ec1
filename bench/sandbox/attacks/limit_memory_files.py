"""Hold it in files without a name that lie in memory."""
#: passes memory

import os
import time

files = [os.memfd_create("x") for _ in range(4)]
for file in files:
    for _ in range(50):
        os.write(file, b"x" * 1_000_000)
time.sleep(0.3)
