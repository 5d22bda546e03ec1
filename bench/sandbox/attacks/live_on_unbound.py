"""Undo the wish to die with one's parent, and leave."""
#: late

import os
import sys
import time

if os.fork() == 0:
    import ctypes

    ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
    os.setsid()
    if os.fork():
        os._exit(0)
    time.sleep(0.4)
    open(sys.argv[1] + "/late", "w").close()
    os._exit(0)
