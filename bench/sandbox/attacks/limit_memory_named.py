"""Hold it in shared memory by name."""
#: namespace
#: passes memory

import os
import time

names = [f"/dev/shm/sae-attack-{os.getpid()}-{number}" for number in range(4)]
try:
    for name in names:
        open(name, "wb").write(b"x" * 50_000_000)
    time.sleep(0.3)
finally:
    for name in names:
        if os.path.exists(name):
            os.unlink(name)
