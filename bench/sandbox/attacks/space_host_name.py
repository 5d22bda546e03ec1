"""Rename the machine."""
#: root

import socket

socket.sethostname(socket.gethostname())
