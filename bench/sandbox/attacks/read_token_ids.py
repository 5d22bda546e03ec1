"""Read which token each row of the activations is of."""

import os

assert open(os.environ["STORE"] + "/token.npy", "rb").read()
