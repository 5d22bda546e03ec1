"""Leave in a session of its own, with all signals ignored."""
#: late

import os
import sys
import time

if os.fork() == 0:
    import signal

    os.setsid()
    for number in (1, 2, 3, 15):
        signal.signal(number, signal.SIG_IGN)
    if os.fork():
        os._exit(0)
    time.sleep(0.4)
    open(sys.argv[1] + "/late", "w").close()
    os._exit(0)
