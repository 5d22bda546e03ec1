"""Hold it among children that each stay below."""
#: passes memory

import os
import time

for _ in range(4):
    if os.fork() == 0:
        held = b"x" * 50_000_000
        time.sleep(0.4)
        os._exit(0)
for _ in range(4):
    os.wait()
