"""Leave a program that runs with its owner's rights for anyone."""

import os
import sys

path = sys.argv[1] + "/program"
open(path, "w").close()
os.chmod(path, 0o4755)
assert os.stat(path).st_mode & 0o4000
