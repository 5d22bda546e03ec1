"""Print without end."""
#: passes output

import os

for _ in range(300):
    os.write(1, b"x" * 100_000)
