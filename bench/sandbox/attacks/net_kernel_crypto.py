"""Open a socket to the kernel's cryptography."""
#: depends

import socket

socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET, 0).bind(("hash", "sha256"))
