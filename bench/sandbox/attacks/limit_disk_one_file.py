"""Write it to one file."""
#: passes disk

import os
import sys

with open(f"{sys.argv[1]}/big", "wb") as file:
    for _ in range(300):
        file.write(b"x" * 1_000_000)
        os.fsync(file.fileno())
