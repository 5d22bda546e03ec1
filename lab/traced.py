"""A real run that also notes which lines of the script ran.

    python -P -m lab.traced --report FILE SCRIPT --out_dir=DIR

For edits with parts that a smoke run is too short to reach; only the script's own lines are noted.
"""

from __future__ import annotations

import argparse
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from lab import cache


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; what the script raises is raised, after the report is written."""
    import coverage

    parser = argparse.ArgumentParser(prog="python -m lab.traced", description="Run an experiment and note its lines.")
    parser.add_argument("script", type=Path, help="the experiment, as python would run it")
    parser.add_argument("--out_dir", required=True, help="where the script saves its SAE")
    parser.add_argument("--report", type=Path, required=True, help="the JSON file that lists the lines that ran")
    options = parser.parse_args(arguments)
    path = str(options.script.resolve())
    lines = coverage.Coverage(data_file=None, config_file=False, include=[path], messages=False)
    sys.argv = [path, f"--out_dir={options.out_dir}"]
    lines.start()
    try:
        runpy.run_path(path, run_name="__main__")
    finally:
        lines.stop()
        cache.write_json(options.report, {"lines": sorted(lines.get_data().lines(path) or ())})
    return 0


if __name__ == "__main__":
    sys.exit(main())
