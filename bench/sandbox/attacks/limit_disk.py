"""Write more than is allowed."""
#: passes disk

import sys
import time

for number in range(40):
    open(f"{sys.argv[1]}/{number}", "wb").write(b"x" * 1_000_000)
time.sleep(0.5)
