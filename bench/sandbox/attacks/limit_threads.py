"""Start more threads than are allowed."""
#: passes processes

import threading
import time

for _ in range(100):
    threading.Thread(target=time.sleep, args=(0.3,), daemon=True).start()
time.sleep(0.2)
