"""Put a link in the place of the log that is being written."""
#: trace

import os
import sys

os.unlink(sys.argv[1] + "/log.txt")
os.symlink(os.environ["SECRET"], sys.argv[1] + "/log.txt")
