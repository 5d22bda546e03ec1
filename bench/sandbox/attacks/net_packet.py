"""See all packets of the machine."""
#: root

import socket

socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x300)
