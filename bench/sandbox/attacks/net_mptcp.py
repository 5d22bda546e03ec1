"""Connect by multipath TCP, which Landlock does not know."""
#: depends

import os
import socket

IPPROTO_MPTCP = 262
sender = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
sender.connect(("127.0.0.1", int(os.environ["TCP_PORT"])))
