"""Take the limits of another process away from it."""

import os
import resource

resource.prlimit(int(os.environ["VICTIM"]), resource.RLIMIT_NOFILE, (3, 3))
