"""Read the keys beside the project."""

import os

assert "sk-" in open(os.environ["DOTENV"]).read()
