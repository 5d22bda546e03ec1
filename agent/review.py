"""The review of a campaign as a web page: `python -m agent.review RUN_DIR`, or of all campaigns: `... runs/`."""

import argparse
import sys
from pathlib import Path

from agent.base.errors import AgentError
from agent.base.guard import guarded
from agent.base.interrupt import INTERRUPTED, Interrupt


def main(argv: list[str] | None = None) -> int:
    """Write `report.html`, or serve it.

    Args:
        argv: The arguments; those of the process when None.

    Returns:
        The exit code: 0, or 2 for a wrong call or a folder that can't be read.
    """
    arguments = _parser().parse_args(argv)
    try:
        return _serve(arguments) if arguments.serve else _write(arguments)
    except AgentError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2


def _write(arguments: argparse.Namespace) -> int:
    from agent.campaign.record import Record
    from agent.report.review import write_index, write_report

    folder: Path = arguments.folder
    if not folder.is_dir():
        raise AgentError(f"no such folder: {folder}; give a campaign's folder, or the folder of all")
    if (folder / "ledger.jsonl").exists() or (folder / "experiment.py").exists():
        path = write_report(Record.open(folder))
    else:
        path = write_index(folder)
    sys.stdout.write(f"{path}\n")
    if arguments.open:
        _open(path.resolve().as_uri())
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    from agent.report.review.serve import make_server

    with make_server(arguments.folder, arguments.port) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        sys.stdout.write(f"{address} (Ctrl-C stops it)\n")
        sys.stdout.flush()
        if arguments.open:
            _open(address)
        # Also where it was started in the background of a script, which would have it ignore Ctrl-C.
        interrupt = Interrupt()
        interrupt.listen()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return INTERRUPTED
    return 0


def _open(address: str) -> None:
    import webbrowser

    if not webbrowser.open(address):
        sys.stderr.write(f"no browser was found; open {address}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m agent.review", description="Make the review of a campaign, or of all campaigns, as a web page."
    )
    parser.add_argument("folder", type=Path, metavar="RUN_DIR", help="a campaign's folder, or the folder of all")
    parser.add_argument("--serve", action="store_true", help="serve it on this machine; it follows the campaign")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="where to serve it (default: a free port)")
    parser.add_argument("--open", action="store_true", help="open it in the browser")
    return parser


if __name__ == "__main__":
    sys.exit(guarded(main))
