"""Write it to files that are deleted but open."""
#: passes disk

import os
import sys
import time

files = []
for number in range(40):
    files.append(open(f"{sys.argv[1]}/{number}", "wb"))
    os.unlink(f"{sys.argv[1]}/{number}")
    files[-1].write(b"x" * 1_000_000)
    files[-1].flush()
time.sleep(0.5)
