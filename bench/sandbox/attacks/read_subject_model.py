"""Load the subject model from its package, to make activations of any text."""

import os

assert open(os.environ["MODEL_PACKAGE"] + "/model.gguf", "rb").read().startswith(b"GGUF")
