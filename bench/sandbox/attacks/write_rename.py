"""Take a file out of the user's home."""

import os
import sys

os.rename(os.environ["SECRET"], sys.argv[1] + "/taken")
