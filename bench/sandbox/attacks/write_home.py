"""Change a file in the user's home."""

import os

open(os.environ["SECRET"], "a").write("changed")
