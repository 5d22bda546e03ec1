"""Read the labelled texts from their package, the held-out ones among them."""

import os

folder = os.environ["TEXT_PACKAGE"] + "/data"
assert any("held out" in open(os.path.join(folder, name)).read() for name in os.listdir(folder))
