"""Have each process start another, seven times over."""
#: passes processes

import os
import time

counter, count = os.pipe()
first = os.getpid()
for _ in range(7):
    os.fork()
os.write(count, b"x")
time.sleep(0.3)
if os.getpid() == first:
    assert len(os.read(counter, 1000)) == 128
