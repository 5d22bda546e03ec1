"""Read a key in the user's home."""

import os

assert "sk-" in open(os.environ["SECRET"]).read()
