"""The recorded campaign, the clean texts about it, the faults planted in them, and honest sentences added to them.

`campaign/` is a real campaign at the tests' tiny profile: its ledger, the scores and training records of its runs
(without curves and details), its figures in few colours, and its git history as a bundle. Paths in its ledger were made
relative, and its baselines given the empty conditions that ledgers did not have when it was recorded.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from git import Repo

from agent.audit import Document, Findings, audit, make_document
from agent.audit.bibliography import SHIPPED, Entry, read_bibliography
from agent.audit.evidence import Evidence
from agent.audit.load import load_evidence
from agent.audit.plain import Form

HERE = Path(__file__).parent
RECORDED = HERE / "campaign"
RECORDED_NOTES = "notes.txt"
BASES = ("notes.md", "paper.tex", RECORDED_NOTES)


@dataclass(frozen=True)
class Fault:
    """A fault to plant.

    Args:
        kind: What is wrong.
        base: The clean text.
        replaced: What stands in it, and what is put in its place; each stands there exactly once.
        found_in: The list of the report that should name it.
    """

    kind: str
    base: str
    replaced: tuple[tuple[str, str], ...]
    found_in: str


@dataclass(frozen=True)
class Honest:
    """A sentence that is true, and where it is put in."""

    base: str
    after: str
    text: str


class Bench:
    """The recorded campaign in a folder of its own, and the texts.

    Args:
        folder: An empty folder; the campaign is unpacked there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = unpack(folder / "campaign")
        self.evidence: Evidence = load_evidence(self.folder)
        self.bibliography: dict[str, Entry] = read_bibliography(SHIPPED)
        self.texts = {name: self._read(name) for name in BASES}

    def audit(self, base: str, text: str) -> tuple[Document, Findings]:
        """Check a variant of a base."""
        form: Form = "tex" if base.endswith(".tex") else "md" if base.endswith(".md") else "txt"
        document = make_document(text, form, self.folder / base)
        return document, audit(document, self.evidence, self.bibliography)

    def finds(self, fault: Fault) -> bool:
        """Tell whether the audit names a fault, in the right list and at one of the lines that were changed."""
        clean = self.texts[fault.base]
        text = clean
        for old, new in fault.replaced:
            text = replace_once(text, old, new)
        _, report = self.audit(fault.base, text)
        items = getattr(report, fault.found_in)
        if fault.found_in == "missing_runs":
            return bool(items)
        changed = changed_lines(text, fault)
        return any(item.line in changed for item in items)

    def false_alarms(self, honest: Honest) -> list[str]:
        """The audit's findings in a text that an honest sentence was added to."""
        text = replace_once(self.texts[honest.base], honest.after, f"{honest.after}\n{honest.text}")
        return _said(self.audit(honest.base, text)[1])

    def said_of_bases(self) -> dict[str, list[str]]:
        """The audit's findings in the clean texts."""
        return {name: _said(self.audit(name, text)[1]) for name, text in self.texts.items()}

    def _read(self, name: str) -> str:
        return ((self.folder if name == RECORDED_NOTES else HERE) / name).read_text(encoding="utf-8")


def unpack(folder: Path) -> Path:
    """Make the recorded campaign's folder: its git history from a bundle, its ledger and its results."""
    Repo.clone_from(str(RECORDED / "campaign.bundle"), str(folder)).close()
    shutil.copytree(RECORDED, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.bundle"))
    return folder


def load_faults() -> list[Fault]:
    """The faults to plant."""
    return [
        Fault(one["kind"], one["base"], ((one["old"], one["new"]), *map(tuple, one.get("also", []))), one["list"])
        for one in _lines("faults.jsonl")
    ]


def load_honest() -> list[Honest]:
    """The honest sentences."""
    return [Honest(**one) for one in _lines("clean.jsonl")]


def replace_once(text: str, old: str, new: str) -> str:
    """Replace what stands in a text exactly once."""
    if text.count(old) != 1:
        raise ValueError(f"stands {text.count(old)} times in the text, not once: {old!r}")
    return text.replace(old, new)


def changed_lines(text: str, fault: Fault) -> set[int]:
    """The numbers of the lines that hold what was put in; for a doubled thing, of every line that holds it."""
    lines: set[int] = set()
    for _, new in fault.replaced:
        start = text.find(new) if new else -1
        while start >= 0:
            first = text.count("\n", 0, start) + 1
            lines |= set(range(first, first + new.count("\n") + 1))
            start = text.find(new, start + 1)
    return lines


def _lines(name: str) -> list[dict]:
    return [json.loads(line) for line in (HERE / name).read_text(encoding="utf-8").splitlines()]


def _said(report: Findings) -> list[str]:
    return [
        f"{kind}, line {item['line']}: {item['reason']}" for kind, items in report.to_json().items() for item in items
    ]
