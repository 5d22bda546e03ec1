"""Type into the terminal that the launcher was started from."""
#: depends

import fcntl
import os
import pty
import termios

control, terminal = pty.openpty()
os.setsid() if os.getsid(0) != os.getpid() else None
fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
fcntl.ioctl(terminal, termios.TIOCSTI, b"x")
