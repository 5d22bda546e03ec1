"""Read another process's memory."""

import os

memory = os.open(f"/proc/{os.environ['VICTIM']}/mem", os.O_RDONLY)
assert os.pread(memory, 9, int(os.environ["ADDRESS"])) == b"sk-memory"
