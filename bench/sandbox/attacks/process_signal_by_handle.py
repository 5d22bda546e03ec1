"""The same through a handle."""

import os
import signal

signal.pidfd_send_signal(os.pidfd_open(int(os.environ["VICTIM"])), signal.SIGTERM)
