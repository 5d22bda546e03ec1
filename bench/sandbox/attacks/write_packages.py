"""Change a package that other programs import."""

import os

open(os.environ["PACKAGES"] + "/module.py", "a").write("import os")
