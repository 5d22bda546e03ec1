"""Send a datagram to a socket in the file system, as a system log's is."""

import os
import socket

socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"out", os.environ["DATAGRAM_SOCKET"])
