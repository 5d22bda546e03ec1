"""Go so deep that no path reaches what is written there."""
#: passes hidden

import os
import sys
import time

os.chdir(sys.argv[1])
for _ in range(30):
    os.mkdir("x" * 200)
    os.chdir("x" * 200)
open("big", "wb").write(b"x" * 30_000_000)
time.sleep(0.5)
