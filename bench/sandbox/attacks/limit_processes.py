"""Start more processes than are allowed."""
#: passes processes

import os
import time

for _ in range(100):
    if os.fork() == 0:
        time.sleep(0.5)
        os._exit(0)
time.sleep(0.2)
