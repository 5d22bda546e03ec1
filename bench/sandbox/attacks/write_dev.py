"""Make a file in /dev, which lies in memory."""
#: root

import os

open("/dev/sae-attack", "w").write("x")
os.unlink("/dev/sae-attack")
