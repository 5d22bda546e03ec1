"""The folder of one paper: its sections, and the files that are made from them."""

import re
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from agent.audit import Findings, audit, make_document
from agent.audit.bibliography import Entry, read_bibliography
from agent.audit.evidence import Evidence
from agent.base.errors import AgentError
from agent.base.files import write_atomically
from agent.base.places import LATEX
from agent.writeup.numbers import appendix, numbers_of, write_numbers
from agent.writeup.outline import Section

if TYPE_CHECKING:
    from agent.writeup.latex import Problem

BIBLIOGRAPHY = "references.bib"
_DENIES = re.compile(r"\b(?:no|not|nor|neither|without|null|fails?|does ?n't|cannot)\b", re.IGNORECASE)


@dataclass
class Paper:
    """A paper under way.

    Args:
        folder: Where it is made, under writeups/.
        evidence: The campaign.
        sections: Its sections, in their order.
        date: The day on its title page.
        metrics: What the appendix shows of each run.
        null: Whether it reports that nothing was found.
    """

    folder: Path
    evidence: Evidence
    sections: tuple[Section, ...]
    date: str
    metrics: list[str]
    null: bool = False
    _starts: dict[str, range] = field(default_factory=dict)

    def prepare(self) -> None:
        """Make the folder: style, bibliography, figures and empty sections.

        A paper that was begun is begun again: the transcript answers what was asked before, and costs nothing.
        """
        try:
            (self.folder / "sections").mkdir(parents=True, exist_ok=True)
            shutil.copy(LATEX / "sae-scientist.sty", self.folder)
            shutil.copy(LATEX / BIBLIOGRAPHY, self.folder)
            if (self.evidence.folder / "figures").is_dir():
                shutil.copytree(self.evidence.folder / "figures", self.folder / "figures", dirs_exist_ok=True)
        except OSError as error:
            raise AgentError(f"cannot make {self.folder}: {error}; free the space or fix the rights") from error
        for section in self.sections:
            write_atomically(self.folder / section.file, "")

    @property
    def bibliography(self) -> dict[str, Entry]:
        """The works that it may cite."""
        return read_bibliography(self.folder / BIBLIOGRAPHY)

    @property
    def figures(self) -> list[str]:
        """The figures it may show, without their ending."""
        return sorted(path.stem for path in (self.folder / "figures").glob("*.png"))

    def text(self, section: Section) -> str:
        """A section as it stands."""
        return (self.folder / section.file).read_text(encoding="utf-8")

    def put(self, section: Section, text: str) -> None:
        """Set a section's text."""
        write_atomically(self.folder / section.file, text)

    def source(self) -> str:
        """The whole paper in TeX; remembers which lines are whose."""
        from jinja2 import Environment

        title, abstract = split_title(self.text(self.sections[0]))
        environment = Environment(
            variable_start_string="<<",
            variable_end_string=">>",
            block_start_string="<%",
            block_end_string="%>",
            trim_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,
        )
        template = environment.from_string((LATEX / "paper.tex.j2").read_text(encoding="utf-8"))
        rest = [(section.name, _tidy(self.text(section)).strip()) for section in self.sections[1:]]
        text = template.render(title=_tidy(title), abstract=_tidy(abstract), sections=rest, date=self.date)
        for name, body in [(self.sections[0].name, _tidy(abstract)), *rest]:
            first = text.count("\n", 0, text.find(body)) + 1 if body else 0
            self._starts[name] = range(first, first + body.count("\n") + 1)
        return text

    def make(self) -> str:
        """Write paper.tex, numbers.tex, numbers.json and appendix.tex from the sections; returns the paper."""
        text = self.source()
        write_atomically(self.folder / "paper.tex", text)
        write_numbers(self.folder, numbers_of(text, self.evidence))
        write_atomically(self.folder / "appendix.tex", appendix(self.evidence, self.metrics))
        return text

    def audit_section(self, section: Section) -> list[str]:
        """The faults of one section, for itself: a line each."""
        text = self.text(section)
        if section.name == "abstract":
            title, abstract = split_title(text)
            if not title:
                return ["the first line is not \\title{...}"]
            if self.null and not _DENIES.search(text):
                return ["this is a null result, and neither title nor abstract says what was not found"]
            text = f"{title}\n\n{abstract}"
        report = audit(
            make_document(_tidy(text), "tex", self.folder / "paper.tex"), self.evidence, self.bibliography, False, True
        )
        # A label may stand in a section that is still to be written.
        unsupported = [item for item in report.unsupported if "which no \\label defines" not in item.reason]
        return said(replace(report, unsupported=unsupported))

    def audit_whole(self) -> Findings:
        """The faults of the whole paper."""
        document = make_document(self.source(), "tex", self.folder / "paper.tex")
        return audit(document, self.evidence, self.bibliography, True, True)

    def by_section(self, report: Findings, problems: "list[Problem]") -> dict[str, list[str]]:
        """The faults by the section that they stand in; those without a place go to the results."""
        found: dict[str, list[str]] = {}
        items = [(item.line, f"{item.reason}: {item.text}") for one in vars(report).values() for item in one]
        for line, reason in [*items, *((problem.line, f"LaTeX: {problem.reason}") for problem in problems)]:
            name = next((name for name, lines in self._starts.items() if line in lines), "results")
            found.setdefault(name, []).append(reason)
        return found


def said(report: Findings) -> list[str]:
    """The findings of an audit as lines for the model."""
    places: dict[str, list[str]] = {}
    for item in (item for items in vars(report).values() for item in items):
        reason = item.reason + (f" (instead: {item.suggestion})" if item.suggestion else "")
        places.setdefault(item.text, []).append(reason)
    return [f"{'; '.join(reasons)} — in: {text}" if text else "; ".join(reasons) for text, reasons in places.items()]


def split_title(text: str) -> tuple[str, str]:
    """The title and the rest of the abstract's file."""
    found = re.match(r"\s*\\title\s*\{", text)
    if not found:
        return "", text
    depth, place = 1, found.end()
    while depth and place < len(text):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        place += 1
    return text[found.end() : place - 1], text[place:].strip()


def _tidy(text: str) -> str:
    """References in the one form that numbers.tex knows them by."""

    def tidy(found: re.Match[str]) -> str:
        return re.sub(r"\s+", " ", found[0].replace("\\_", "_"))

    return re.sub(r"\\(?:(?:res|verdict)\s*\{[^{}]*\}\s*\{[^{}]*\}|num\s*\{[^{}]*\})", tidy, text)
