"""Read the weights of the baseline that one is compared with."""

import os

assert open(os.path.dirname(os.environ["STORE"]) + "/../baselines/topk/weights.safetensors", "rb").read()
