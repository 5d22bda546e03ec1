"""Empty a file by its path alone."""

import os

os.truncate(os.environ["SECRET"], 0)
