"""Leave a link where the launcher will write its log."""
#: trace

import os
import sys

os.symlink(os.environ["SECRET"], sys.argv[1] + "/evaluate.log")
