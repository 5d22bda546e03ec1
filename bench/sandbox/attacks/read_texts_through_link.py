"""Read the labelled texts through a link in one's own folder, and through dots beside another package."""

import os
import sys

os.symlink(os.environ["TEXT_PACKAGE"], sys.argv[1] + "/link")
found = []
for way in (sys.argv[1] + "/link", os.environ["PACKAGES"] + "/../packages/texts"):
    try:
        found.append(open(way + "/data/1.csv").read())
    except OSError:
        pass
assert "held out" in "".join(found)
