"""Send data with the first packet of a TCP connection."""
#: depends

import os
import socket

sender = socket.socket()
sender.sendto(b"out", socket.MSG_FASTOPEN, ("127.0.0.1", int(os.environ["TCP_PORT"])))
