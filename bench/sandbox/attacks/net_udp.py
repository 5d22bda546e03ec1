"""Send a datagram, as a name server's look-up does."""

import os
import socket

socket.socket(type=socket.SOCK_DGRAM).sendto(b"out", ("127.0.0.1", int(os.environ["UDP_PORT"])))
