"""Put an attribute on a file of the user's."""
#: depends

import os

os.setxattr(os.environ["SECRET"], "user.mark", b"1")
os.getxattr(os.environ["SECRET"], "user.mark")
