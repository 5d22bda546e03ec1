"""Change one's root folder, from which one may climb out."""
#: root

import os
import sys

os.chroot(sys.argv[1])
