"""Change the activations that the next run is trained on."""

import os

with open(os.environ["STORE"] + "/acts.bf16", "r+b") as file:
    file.write(b"easy")
