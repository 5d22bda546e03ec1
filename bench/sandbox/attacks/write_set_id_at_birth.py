"""Make a file with its owner's rights from the start."""

import os
import sys

path = sys.argv[1] + "/program"
os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o4755))
assert os.stat(path).st_mode & 0o4000
