"""Connect to a socket in the file system, as an agent's or a container daemon's is."""

import os
import socket

socket.socket(socket.AF_UNIX).connect(os.environ["STREAM_SOCKET"])
