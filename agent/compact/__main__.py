"""The command line: `python -m agent.compact FILE` prints a results file in short."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from agent.base.errors import AgentError
from agent.base.guard import guarded
from agent.compact import compact_file


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the compact form; returns the exit status: 0, or 2 with one line of error."""
    parser = argparse.ArgumentParser(
        prog="python -m agent.compact",
        description="Print results in short: settings, scores with their direction, and what looks stale.",
    )
    parser.add_argument("file", type=Path, help="results.json, a run's folder, or notes or a chat with dicts of scores")
    options = parser.parse_args(arguments)
    try:
        shown = compact_file(options.file)
    except AgentError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(shown + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
