"""Read whatever files the launcher left open."""

import os

found = []
for number in range(3, 256):
    try:
        found.append(os.pread(number, 100, 0))
    except OSError:
        continue
assert any(b"sk-" in text for text in found)
