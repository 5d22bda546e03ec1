"""Have each process start two."""
#: passes processes

import os
import time

for _ in range(7):
    os.fork()
time.sleep(0.3)
