"""Writes a run's SAE in SAELens' format, to be published: `SAE.load_from_disk(OUT_DIR)` reads it.

python -m lab.export RUN_DIR OUT_DIR
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lab.errors import LabError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.export", description="Write a run's SAE as SAELens' cfg.json and sae_weights.safetensors."
    )
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="a folder with sae/ in it")
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR", help="a new folder")
    options = parser.parse_args(arguments)
    from lab.sae_lens_format import to_sae_lens

    try:
        to_sae_lens(options.run_dir / "sae", options.out_dir)
    except LabError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"{options.out_dir}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
