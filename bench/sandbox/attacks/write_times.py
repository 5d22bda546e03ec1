"""Set back the time of a package, so that a changed one looks unchanged."""

import os

path = os.environ["PACKAGES"] + "/module.py"
os.utime(path, (1, 1))
assert os.stat(path).st_mtime == 1
