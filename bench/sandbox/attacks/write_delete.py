"""Delete another run's folder."""

import os
import shutil

shutil.rmtree(os.environ["OTHER_RUN"])
