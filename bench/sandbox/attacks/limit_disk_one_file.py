"""Write it to one file."""
#: passes disk

import sys

open(f"{sys.argv[1]}/big", "wb").write(b"x" * 300_000_000)
