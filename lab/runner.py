"""The one way in which an experiment's script is run: for real, tried in a smoke run, or with its lines noted.

    python -P -m lab.runner SCRIPT --out_dir=DIR

The script is run as `python SCRIPT --out_dir=run` would run it. Nothing that it sees tells the kinds apart: what
SAE_LAB_* says (`lab.given`) is taken out of the environment first, and the run's folder has the same name in all.
"""

from __future__ import annotations

import argparse
import functools
import os
import runpy
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from lab import cache, progress
from lab.given import GIVEN, Given
from lab.imports import importing

_SHOWN = "run"


def execute(script: Path, given: Given) -> None:
    """Run a script once; what it raises is raised, and what it wrote over the run's record.

    Args:
        script: the experiment, as its tracebacks name it.
        given: what its `lab.training.start` goes by.
    """
    sys.argv = [str(script), f"--out_dir={_SHOWN}"]
    GIVEN.set(given)
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        given.check()


def _noting_lines(script: Path, given: Given, report: Path) -> None:
    """Run a script and write which of its lines ran, for parts that a smoke run is too short to reach."""
    import coverage

    path = str(script.resolve())
    lines = coverage.Coverage(data_file=None, config_file=False, include=[path], messages=False)
    lines.start()
    try:
        execute(script, given)
    finally:
        lines.stop()
        cache.write_json(report, {"lines": sorted(lines.get_data().lines(path) or ())})


def _say(script: str, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print what a script raised as it would be printed were it run by itself: from its own first frame on."""
    first = trace
    while first is not None and first.tb_frame.f_code.co_filename != script:
        first = first.tb_next
    traceback.print_exception(kind, error, first or trace)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; what the script raises is raised."""
    parser = argparse.ArgumentParser(prog="python -m lab.runner", description="Run an experiment's script.")
    parser.add_argument("script", type=Path, help="the experiment, as python would run it")
    parser.add_argument("--out_dir", type=Path, required=True, help="where its SAE is saved")
    options = parser.parse_args(arguments)
    sys.excepthook = functools.partial(_say, str(options.script))
    given = Given.take(os.environ, options.out_dir.resolve())
    progress.PLACE.set(os.environ.pop(progress.PROGRESS_FILE, ""))
    with importing():
        import torch  # noqa: F401  (the script does it first of all)
    report = given.report
    if given.smoke_steps and report:
        from lab.smoke import smoke

        smoke(options.script, given, report, functools.partial(execute, options.script))
    elif report:
        _noting_lines(options.script, given, report)
    else:
        execute(options.script, given)
    return 0


if __name__ == "__main__":
    sys.exit(main())
