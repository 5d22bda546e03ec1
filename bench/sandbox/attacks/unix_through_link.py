"""Connect to such a socket through a link in one's own /tmp."""

import os
import socket
import tempfile

link = os.path.join(tempfile.mkdtemp(), "own")
os.symlink(os.environ["STREAM_SOCKET"], link)
socket.socket(socket.AF_UNIX).connect(link)
