"""Make more files than are allowed."""
#: passes files

import sys
import time

for number in range(400):
    open(f"{sys.argv[1]}/{number}", "w").close()
time.sleep(0.5)
