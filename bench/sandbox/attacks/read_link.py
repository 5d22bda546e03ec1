"""Read a key through a link in one's own folder."""

import os
import sys

os.symlink(os.environ["SECRET"], sys.argv[1] + "/link")
assert "sk-" in open(sys.argv[1] + "/link").read()
