"""Take more time than is allowed."""
#: passes time

import time

time.sleep(0.8)
