"""The corpus: one text file a reply, as a model would send it, with what should become of it.

Above a line of three dashes stand `name:` (in words), `expect:` (`refused`, `smoke`, `flagged`, or `kept` for an honest
edit) and, where the reply is to the question for the figures, `step: plots`. Below it is the reply.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Outcome = Literal["refused", "smoke", "flagged", "kept"]
FOLDER = Path(__file__).with_name("cases")


@dataclass(frozen=True)
class Case:
    """One reply.

    Args:
        file: its file's name, without the suffix.
        name: what it is, in words.
        honest: whether it is an edit that should be kept.
        expect: what should become of it.
        plots: whether it answers the question for the figures.
        reply: the reply's text.
    """

    file: str
    name: str
    honest: bool
    expect: Outcome
    plots: bool
    reply: str


def load_cases(folder: Path = FOLDER) -> list[Case]:
    """All cases, the hostile ones first."""
    return [read_case(path) for kind in ("hostile", "honest") for path in sorted((folder / kind).glob("*.txt"))]


def read_case(path: Path) -> Case:
    """One file.

    Raises:
        ValueError: it lacks its head, or expects what does not exist.
    """
    head, found, reply = path.read_text(encoding="utf-8").partition("\n---\n")
    fields = dict(line.split(": ", 1) for line in head.splitlines())
    if not found or fields.get("expect") not in get_args(Outcome):
        raise ValueError(f"{path} has no head that says what should become of it")
    expect: Outcome = fields["expect"]  # type: ignore[assignment]
    return Case(path.stem, fields["name"], expect == "kept", expect, fields.get("step") == "plots", reply)
