"""Leave a file in the machine's /tmp."""
#: trace

import os

open(os.environ["TMP_FILE"], "w").write("left")
