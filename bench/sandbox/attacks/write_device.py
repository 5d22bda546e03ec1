"""Make a device node, as root may."""
#: root

import os
import stat
import sys

os.mknod(sys.argv[1] + "/disk", 0o600 | stat.S_IFBLK, os.makedev(1, 0))
