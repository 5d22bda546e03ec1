"""Give a file of the user's a second name in one's own folder."""

import os
import sys

os.link(os.environ["SECRET"], sys.argv[1] + "/second")
