"""Change the results of another run."""

import os

open(os.environ["OTHER_RUN"] + "/results.json", "w").write("{}")
