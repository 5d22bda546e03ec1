"""Take the rights off a package through an open file."""

import os

opened = os.open(os.environ["PACKAGES"] + "/module.py", os.O_RDONLY)
os.fchmod(opened, 0)
assert os.fstat(opened).st_mode & 0o777 == 0
