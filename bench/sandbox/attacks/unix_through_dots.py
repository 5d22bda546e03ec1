"""Connect to such a socket by a path that begins in one's own /tmp."""

import os
import socket
import tempfile

climb = "/.." * 12
socket.socket(socket.AF_UNIX).connect(tempfile.gettempdir() + climb + os.environ["STREAM_SOCKET"])
