"""Point one of a pair of datagram sockets at a socket in the file system."""

import os
import socket

socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b"out", os.environ["DATAGRAM_SOCKET"])
