"""The command line: `python -m agent.writeup RUN_DIR`."""

import argparse
import sys
from pathlib import Path

from agent.base.errors import AgentError
from agent.base.guard import guarded
from agent.base.places import WRITEUPS


def main(argv: list[str] | None = None) -> int:
    """Write a paper about a campaign.

    Args:
        argv: The arguments; those of the process when None.

    Returns:
        0 when the paper is done, 1 when faults are left in it, 2 for a wrong call, 3 when a budget stopped it.
    """
    arguments = _parser().parse_args(argv)
    from agent.models.base import BudgetExceeded
    from lab.errors import LabError

    try:
        return _write(arguments)
    except BudgetExceeded as error:
        sys.stderr.write(f"{error}; what is written is kept, the same command goes on\n")
        return 3
    except (AgentError, LabError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2


def _write(arguments: argparse.Namespace) -> int:
    from agent.writeup.session import Options, write_paper

    options = Options(
        run=arguments.run,
        writeups=arguments.writeups,
        model=arguments.model,
        referee=arguments.referee,
        compile=not arguments.no_compile,
        citations=arguments.citations,
        budget_usd=arguments.budget_usd,
    )
    done = write_paper(options, _say)
    for line in done.left:
        sys.stdout.write(f"  left: {line}\n")
    for line in done.refereed:
        sys.stdout.write(f"  referee: {line}\n")
    for path in done.made:
        sys.stdout.write(f"{path}\n")
    if done.remark:
        sys.stdout.write(f"{done.remark}\n")
    return 1 if done.left else 0


def _say(line: str) -> None:
    sys.stdout.write(f"  {line}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m agent.writeup",
        description="Write a paper about a campaign, every number in it a link to a result.",
    )
    parser.add_argument("run", type=Path, metavar="RUN_DIR", help="the campaign's folder, under runs/")
    parser.add_argument(
        "--model", default="auto", help="as for agent.launch; auto is the campaign's own, a script excepted"
    )
    parser.add_argument(
        "--referee",
        default="",
        metavar="MODEL",
        help="another model that reads the paper against the code (default: none)",
    )
    parser.add_argument("--no-compile", action="store_true", help="the .tex and the HTML page only")
    parser.add_argument(
        "--citations", default="", metavar="URL", help="search works there: openalex, or a server of its protocol"
    )
    parser.add_argument("--budget-usd", type=float, metavar="USD", help="stop before a call once this much is spent")
    parser.add_argument("--writeups", type=Path, default=WRITEUPS, help="the folder that papers are made in")
    return parser


if __name__ == "__main__":
    sys.exit(guarded(main))
