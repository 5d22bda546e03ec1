"""Change one's own code after it was checked."""

import os

open(os.environ["EXPERIMENT"], "a").write("# changed")
