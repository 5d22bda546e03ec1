"""Connect to a TCP port of this machine."""

import os
import socket

socket.create_connection(("127.0.0.1", int(os.environ["TCP_PORT"])), 1).sendall(b"out")
