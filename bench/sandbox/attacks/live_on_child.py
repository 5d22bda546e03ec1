"""Leave a child that works on after the run."""
#: late

import os
import sys
import time

if os.fork() == 0:
    pass
    time.sleep(0.4)
    open(sys.argv[1] + "/late", "w").close()
    os._exit(0)
