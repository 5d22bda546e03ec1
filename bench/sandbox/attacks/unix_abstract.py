"""Connect to a socket that has a name but no file."""

import os
import socket

socket.socket(socket.AF_UNIX).connect("\0" + os.environ["ABSTRACT_SOCKET"])
