"""``python -m agent.edit``: apply a reply from a file or standard input and print one JSON object."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from agent.base.errors import AgentError
from agent.base.guard import guarded
from agent.edit import apply_reply

_EPILOG = """Exit status: 0 when everything asked for stands in the files, 1 when nothing was written and something was
rejected, 2 for a wrong call."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments; those of the process when None.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(
        prog="python -m agent.edit",
        description="Apply the SEARCH/REPLACE blocks of a model's reply to the files under a folder: all or none.",
        epilog=_EPILOG,
    )
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="the folder of the files")
    parser.add_argument(
        "--editable",
        action="extend",
        nargs="+",
        default=[],
        metavar="GLOB",
        help="files that may change, relative to DIR; ** crosses folders (default: all)",
    )
    parser.add_argument(
        "--lint",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="refuse an edit that adds fatal flake8 errors or breaks another known format (default: yes)",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would happen, write nothing")
    parser.add_argument("reply", nargs="?", metavar="REPLY.md", help="the reply; - for standard input")
    args = parser.parse_args(argv)
    # `--editable a.py REPLY.md`: the option takes every word after it, the reply's name too.
    if args.reply is None and len(args.editable) > 1:
        args.reply = args.editable.pop()
    if args.reply is None:
        parser.error("REPLY.md is missing; give a file or - for standard input")
    try:
        outcome = apply_reply(
            _read(args.reply), args.root, args.editable or ["**"], lint=args.lint, dry_run=args.dry_run
        )
    except AgentError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(json.dumps(outcome.to_json()) + "\n")
    return 1 if any(block.status == "rejected" for block in outcome.blocks) else 0


def _read(name: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise AgentError(f"cannot read the reply {name}: {error.strerror}") from error
    # Bytes that are no UTF-8 are carried along, so that they can never silently become other characters in a file.
    return raw.decode("utf-8", "surrogateescape")


if __name__ == "__main__":
    sys.exit(guarded(main))
