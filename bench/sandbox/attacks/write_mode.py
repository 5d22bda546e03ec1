"""Open a file of the user's to everyone."""

import os

os.chmod(os.environ["SECRET"], 0o666)
assert os.stat(os.environ["SECRET"]).st_mode & 0o777 == 0o666
