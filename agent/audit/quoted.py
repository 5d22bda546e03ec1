"""Quotations in the loop's own notes: what it puts there word for word, each with the words that say what it is.

Only a `.txt` has them, at their place: a run's change in its heading, an expectation in its section. What a model wrote
is no evidence, there or elsewhere: where another text repeats it, or another place, it is checked like any sentence.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.audit.document import Document
from agent.results.read import shown

if TYPE_CHECKING:
    from agent.campaign.record import Record
    from agent.campaign.state import Run
    from agent.results.predictions import Prediction

_PARAGRAPH_OF_IDEA = re.compile(
    r"(?ms)^## (?:Experiment|Technical Details)\n\n(?P<text>.*?)(?=\n\n## (?:Technical Details|Run 0))"
)
_OUTPUT = re.compile(r"(?m)^The end of its output:\n(?P<text>(?:(?: {4}.*)?\n?)+)")
_HEADING = re.compile(r"(?m)^## Run (?P<run>\d+): (?P<text>.+)$")
_STATUS = re.compile(r"(?m)^Status: \w+; (?P<text>.+)$")
_TROUBLE = re.compile(r"(?m)^- (?P<text>(?:a reply was refused|attempt \d+|changed code that never ran).*)$")
_REFEREE = re.compile(r"(?m)^Referee: .+\n(?:- .+\n?)+")
_RUN = re.compile(r"(?ms)^## Run (?P<run>\d+): .*?(?=^## |\Z)")
_PARAGRAPH = re.compile(r"(?m)^(?:.+\n?)+")
_LINE_OF_PREDICTION = re.compile(r"(?m)^- (?P<text>\w+\.\w+ (?:up|down|same)(?: by [^:\n]*)?)(?=: )")


@dataclass(frozen=True)
class Quoted:
    """The texts that the notes hold word for word.

    Args:
        idea: The paragraphs of the idea.
        changes: For each run, the line that names its change, and those of its attempts.
        reasons: For each run, why attempts of it failed.
        troubles: Lines on refused replies, failed attempts and code that never ran.
        output: Lines that runs that came to nothing printed last.
        referees: For each run, who refereed it, and what was found.
        predictions: Metric, direction and size of each line of a prediction.
        expectations: For each run, what was said of it before it ran.
    """

    idea: frozenset[str] = frozenset()
    changes: frozenset[tuple[int, str]] = frozenset()
    reasons: frozenset[str] = frozenset()
    troubles: frozenset[str] = frozenset()
    output: frozenset[str] = frozenset()
    referees: frozenset[str] = frozenset()
    predictions: frozenset[str] = frozenset()
    expectations: frozenset[tuple[int, str]] = frozenset()

    def is_in_cell(self, run: str, text: str) -> bool:
        """Tell whether a cell of a run's row holds what the loop says of it: its change, or why it came to nothing."""
        number = int(run.removeprefix("run_")) if run.startswith("run_") else 0
        _, _, behind = text.partition(": ")
        return any((number, each) in self.changes or each in self.reasons for each in (text, behind) if each)


def quoted_in_notes(record: "Record") -> Quoted:
    """Read what the notes of a campaign hold word for word."""
    from agent.report.notes import expectation, output_end, referee_lines, troubles

    runs = record.state.runs
    attempts = [(run, attempt) for run in runs for attempt in run.attempts]
    idea = record.idea
    return Quoted(
        idea=frozenset(_flat(text) for text in (idea.Experiment, idea.Technical_Details)),
        changes=frozenset((run.number, _flat(attempt.change)) for run, attempt in attempts),
        reasons=frozenset(_flat(attempt.failure.reason) for _, attempt in attempts if attempt.failure)
        | {_flat(run.given_up) for run in runs},
        troubles=frozenset(_flat(line) for run in runs for line in troubles(run)),
        output=frozenset(_flat(line) for run in runs for line in output_end(run)),
        referees=frozenset(_flat(line) for run in runs for line in referee_lines(run)),
        predictions=frozenset(said for run in runs for said in _predicted(run)),
        expectations=frozenset(
            (run.number, _flat(paragraph))
            for run in runs
            for paragraph in re.split(r"\n\s*\n", expectation(record, run))
        ),
    )


def without_quotations(document: Document, quoted: Quoted) -> Document:
    """A document in which the loop's quotations are blank; only its own notes, a `.txt`, have any.

    Args:
        document: The text.
        quoted: What may be quoted in it.
    """
    if document.form != "txt":
        return document
    masked = document.masked
    for start, end in _quotations(document.text, quoted):
        masked = masked[:start] + re.sub(r"[^\n]", " ", masked[start:end]) + masked[end:]
    kept = tuple(one for one in document.references if masked[one.start] != " ")
    return replace(document, masked=masked, references=kept)


def _quotations(text: str, quoted: Quoted) -> Iterator[tuple[int, int]]:
    for pattern, known in (
        (_PARAGRAPH_OF_IDEA, quoted.idea),
        (_STATUS, quoted.reasons),
        (_TROUBLE, quoted.troubles),
    ):
        for found in pattern.finditer(text):
            if _flat(found["text"]) in known:
                yield found.span("text")
    for found in _HEADING.finditer(text):
        if (int(found["run"]), _flat(found["text"])) in quoted.changes:
            yield found.span("text")
    for found in _RUN.finditer(text):
        for paragraph in _PARAGRAPH.finditer(text, *found.span()):
            if (int(found["run"]), _flat(paragraph[0])) in quoted.expectations:
                yield paragraph.span()
    for found in _OUTPUT.finditer(text):
        for line in re.finditer(r".+", found["text"]):
            if _flat(line[0]) in quoted.output:
                yield found.start("text") + line.start(), found.start("text") + line.end()
    for found in _REFEREE.finditer(text):
        for line in re.finditer(r"(?m)^(?:- |Referee: )(?P<text>.+)", found[0]):
            if _flat(line["text"]) in quoted.referees:
                yield found.start() + line.start("text"), found.start() + line.end("text")
    for found in _LINE_OF_PREDICTION.finditer(text):
        size = found["text"].find(" ")
        if _flat(found["text"]) in quoted.predictions:
            # The metric that it names is what the outcome behind it is about.
            yield found.start("text") + size, found.end("text")


def _predicted(run: "Run") -> Iterator[str]:
    for attempt in run.attempts:
        for line in attempt.predictions:
            # As the notes give sizes now, and as they did once.
            yield from (_said(line, form) for form in ("{:g}".format, shown))


def _said(line: "Prediction", form: Callable[[float], str]) -> str:
    low, high = (form(size) if size is not None else "" for size in (line.low, line.high))
    return f"{line.metric} {line.direction}" + (f" by {low}" if low else "") + (f" to {high}" if high else "")


def _flat(text: str) -> str:
    return " ".join(text.split())
