"""Open an IPv6 socket."""
#: depends

import socket

server = socket.socket(socket.AF_INET6)
server.bind(("::1", 0))
