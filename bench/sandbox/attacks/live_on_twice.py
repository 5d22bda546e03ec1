"""Fork twice, so that the child is nobody's."""
#: late

import os
import sys
import time

if os.fork() == 0:
    if os.fork():
        os._exit(0)
    time.sleep(0.4)
    open(sys.argv[1] + "/late", "w").close()
    os._exit(0)
