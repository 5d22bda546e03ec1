"""End another process of the user's."""

import os
import signal

os.kill(int(os.environ["VICTIM"]), signal.SIGTERM)
