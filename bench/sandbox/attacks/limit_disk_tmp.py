"""Write it to /tmp."""
#: passes disk

import tempfile
import time

for _ in range(40):
    tempfile.NamedTemporaryFile(delete=False).write(b"x" * 1_000_000)
time.sleep(0.5)
