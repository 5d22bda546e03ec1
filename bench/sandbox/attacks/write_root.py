"""Make a folder at the root."""
#: root

import os

os.mkdir("/sae-attack")
os.rmdir("/sae-attack")
