"""The command line: `python -m agent.audit PAPER_OR_NOTES --run RUN_DIR`."""

import argparse
import json
import sys
from pathlib import Path

from agent.base.errors import AgentError
from agent.base.guard import guarded


def main(argv: list[str] | None = None) -> int:
    """Check a text and write what was found, as JSON.

    Args:
        argv: The arguments; those of the process when None.

    Returns:
        0 when the text is clean, 1 when something was found, 2 for a wrong call.
    """
    arguments = _parser().parse_args(argv)
    try:
        report = _audit(arguments)
    except AgentError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    return 1 if any(report.values()) else 0


def _audit(arguments: argparse.Namespace) -> dict[str, list[dict[str, object]]]:
    from agent.audit import audit, read_document
    from agent.audit.bibliography import bibliography_of
    from agent.audit.load import load_evidence

    document = read_document(arguments.text)
    return audit(document, load_evidence(arguments.run), bibliography_of(arguments.text), not arguments.part).to_json()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m agent.audit",
        description="Check the numbers, claims, citations and figures of a paper or of notes against a campaign.",
    )
    parser.add_argument("text", type=Path, metavar="PAPER_OR_NOTES", help="a .tex, .md or .txt file")
    parser.add_argument("--run", type=Path, required=True, metavar="RUN_DIR", help="the campaign's folder, under runs/")
    parser.add_argument("--part", action="store_true", help="the text is a part: not every scored run has to be in it")
    return parser


if __name__ == "__main__":
    sys.exit(guarded(main))
