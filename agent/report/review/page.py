"""Puts a campaign, or a list of campaigns, into one HTML file that needs nothing beside it."""

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from agent.base.errors import AgentError
from agent.base.files import write_atomically
from agent.base.screen import duration
from agent.campaign.record import REFEREE, TRANSCRIPT, Record
from agent.report.review.charts import svg
from agent.report.review.collect import collect
from agent.report.review.diffs import style_rules

if TYPE_CHECKING:
    from jinja2 import Environment

REPORT = "report.html"
INDEX = "index.html"
LIGHT, DARK = "friendly", "github-dark"
SCRIPT = (Path(__file__).parent / "page.js").read_text(encoding="utf-8")
# The page shows what a model wrote: should some of it ever pass for HTML, the browser still runs our script alone.
POLICY = (
    "default-src 'none'; img-src 'self' data: file:; style-src 'unsafe-inline'; connect-src 'self'; "
    f"script-src 'sha256-{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}'"
)


@dataclass(frozen=True)
class Entry:
    """A campaign in the index; `fault` says why it can't be read."""

    folder: str
    title: str = ""
    started: str = ""
    status: str = ""
    runs: int = 0
    scored: int = 0
    improved: int = 0
    dollars: float = 0.0
    fault: str = ""


def report_page(record: Record, *, live: bool = False) -> str:
    """The review of one campaign.

    Args:
        record: That of a campaign that may be under way.
        live: Whether the page asks its server for changes.

    Returns:
        HTML.

    Raises:
        AgentError: The ledger or a result is damaged.
    """
    view = collect(record)
    return _environment().get_template("page.html.j2").render(view=view, svg=svg, live=live, duration=duration)


def write_report(record: Record) -> Path:
    """Make `report.html` of a campaign anew.

    Args:
        record: That of a campaign that may be under way.

    Returns:
        The file.

    Raises:
        AgentError: The ledger or a result is damaged, or the file can't be written.
    """
    path = record.folder.path / REPORT
    write_atomically(path, report_page(record))
    return path


def index_page(runs: Path, *, live: bool = False) -> str:
    """The list of all campaigns in a folder, the newest first."""
    folders = sorted((path for path in runs.iterdir() if (path / "ledger.jsonl").is_file()), reverse=True)
    entries = [_entry(folder) for folder in folders if not folder.name.startswith(".")]
    return _environment().get_template("index.html.j2").render(entries=entries, live=live, report=REPORT)


def write_index(runs: Path) -> Path:
    """Make `index.html` in the folder of all campaigns, and the reports that it leads to.

    Args:
        runs: The folder.

    Returns:
        The file.
    """
    for folder in runs.iterdir():
        if (folder / "ledger.jsonl").is_file() and not folder.name.startswith("."):
            try:
                write_report(Record.open(folder))
            except AgentError:
                continue  # the index says what is wrong with it
    path = runs / INDEX
    write_atomically(path, index_page(runs))
    return path


def _entry(folder: Path) -> Entry:
    from agent.models.transcript import read_lines, spent_by

    try:
        record = Record.open(folder)
        state = record.state
        verdicts = [run.last.score.verdicts.values() for run in state.scored if run.last and run.last.score]
        return Entry(
            folder.name,
            record.idea.Title,
            record.folder.ledger.entries[0].time[:16].replace("T", " "),
            "done" if state.completed else "not finished",
            len(state.runs),
            len(state.scored),
            sum("improved" in each for each in verdicts),
            sum(spent_by(read_lines(folder / name)).dollars for name in (TRANSCRIPT, REFEREE)),
        )
    except AgentError as error:
        return Entry(folder.name, fault=str(error))


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("agent.report.review", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
    )
    made.globals["script"], made.globals["policy"] = SCRIPT, POLICY
    made.globals["light"] = style_rules(LIGHT, ".code")
    made.globals["dark"] = style_rules(DARK, ".code")
    return made
