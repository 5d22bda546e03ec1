"""Have each process start another, seven times over."""
#: passes processes

import os
import time

counter, count = os.pipe()
first = os.getpid()
for _ in range(7):
    os.fork()
os.write(count, b"x")
os.close(count)
if os.getpid() != first:
    time.sleep(0.3)
    os._exit(0)
seen = 0
while more := os.read(counter, 1000):
    seen += len(more)
assert seen == 128
