"""List shared memory by name, and read what is found."""

import os

names = [name for name in os.listdir("/dev/shm") if name.startswith("sae-attack")]
assert b"sk-" in open(f"/dev/shm/{names[0]}", "rb").read()
