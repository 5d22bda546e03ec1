"""Make another process wait for everything else."""

import os

os.setpriority(os.PRIO_PROCESS, int(os.environ["VICTIM"]), 19)
assert os.getpriority(os.PRIO_PROCESS, int(os.environ["VICTIM"])) == 19
