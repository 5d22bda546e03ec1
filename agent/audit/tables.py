"""Rows of tables: each cell against the result of its row's and its column's run and metric."""

import re
from collections.abc import Iterator

from agent.audit.allowed import is_allowed, setting_words
from agent.audit.binding import Bound, resolve
from agent.audit.document import Document
from agent.audit.evidence import Evidence, normalised
from agent.audit.mentions import Numeral, Reader, Sentence, find_numerals
from agent.audit.numbers import Fault, explain, matches
from agent.audit.passages import Cell, Passage
from agent.audit.references import check_cell_references
from agent.audit.words import COMPARATIVES
from agent.results.compare import MARKS

_CHANGE = re.compile(r"\bchange|differ|delta|Δ|\bvs\b|against", re.IGNORECASE)
_VERDICT = re.compile(
    r"\b(?:improved|worse|no effect|undecided|within noise|changed|not comparable|not measurable|not scored)\b"
)
_MARKS = {mark: verdict for verdict, mark in reversed(MARKS.items())}


def check_row(row: Passage, document: Document, reader: Reader, evidence: Evidence) -> Iterator[Fault]:
    """Check the cells of a row.

    Args:
        row: The row, its header with it.
        document: Where it stands.
        reader: What finds names.
        evidence: The campaign.

    Returns:
        A fault for each number or verdict that is not that of its run and metric.
    """
    if normalised(row.text) in evidence.computed:
        return
    labels = [cell.text for cell in row.cells if not find_numerals(cell.text)] or [row.cells[0].text]
    label = reader.read_text(Passage("sentence", row.cells[0].start, row.cells[0].text))
    beside = reader.read_text(Passage("sentence", 0, " ; ".join(labels)))
    around = reader.read_text(Passage("sentence", 0, row.caption))
    columns = [reader.read_text(Passage("sentence", 0, title)) for title in row.header]
    of_table = [n for column in columns for n in column.named_sources if n in evidence.runs]
    context = [row.run] if row.run in evidence.runs else []
    spoken = around.named_sources if len(around.named_sources) == 1 else []
    for place, cell in enumerate(row.cells):
        if place == 0 and len(row.cells) > 1:
            continue
        title = columns[place] if place < len(columns) else Sentence(row, (), (), (), ())
        change = _CHANGE.search(title.text) is not None
        named = label.named_sources or beside.named_sources or (title.named_sources if not change else [])
        if title.named_sources and not change and not label.named_sources:
            named = title.named_sources
        sources = resolve(named or of_table or spoken or context, of_table or context, evidence)
        metrics = title.named_metrics or label.named_metrics or around.named_metrics
        if not sources and not metrics:
            if not _is_quoted(cell, row, document, evidence):
                yield from _free(cell, reader, evidence, row)
            continue
        if not metrics and _is_quoted(cell, row, document, evidence):
            continue
        if not metrics:
            yield from _judgement(cell, sources, evidence)
        yield from _cell(cell, title, sources, metrics, change, evidence)
        references = tuple(one for one in document.references if cell.start <= one.start < cell.start + len(cell.text))
        said = f"{title.text} {row.cells[0].text} {cell.text} {row.caption}"
        yield from check_cell_references(references, sources if not change else [], metrics, said, evidence)
        if metrics:
            yield from _judgement(cell, sources, evidence)
        left = next((c for c in reversed(columns[:place]) if _CHANGE.search(c.text)), title)
        yield from _verdict(cell, sources, metrics, title if title.named_sources else left, evidence)


def _cell(
    cell: Cell, title: Sentence, sources: list[str], metrics: list[str], change: bool, evidence: Evidence
) -> Iterator[Fault]:
    base = resolve(title.named_sources, sources, evidence) if change else []
    words = f"{'change by ' if change else ''}{cell.text}"
    shift = len(words) - len(cell.text)
    passage = Passage("sentence", cell.start - shift, words)
    sentence = Sentence(passage, (), (), tuple(find_numerals(words)), ())
    keys = {} if metrics else _settings(title.text, sources, evidence)
    for numeral in sentence.numerals:
        if keys:
            if not any(
                abs(numeral.value - value) < 1e-9 * max(1, abs(value)) for values in keys.values() for value in values
            ):
                key = next(iter(keys))
                right = ", ".join(f"{value:g}" for value in sorted(keys[key]))
                yield Fault(cell.start - shift + numeral.start, f"{numeral.text}: {key} of {sources[0]} is {right}")
            continue
        if not metrics:
            if not is_allowed(numeral, sentence, evidence):
                yield Fault(
                    cell.start - shift + numeral.start, f"{numeral.text}: the column names no metric or setting"
                )
            continue
        bound = Bound(numeral, sources or evidence.sources, metrics, False)
        if change and base:
            if _is_change(numeral, bound, base, evidence):
                continue
        elif matches(bound, sentence, evidence):
            continue
        yield explain(bound, sentence, evidence)


def _is_change(numeral: Numeral, bound: Bound, bases: list[str], evidence: Evidence) -> bool:
    for base in bases:
        for found in evidence.findings(bound.sources, bound.metrics):
            theirs = evidence.lookup(base, found.metric)
            if theirs is None:
                continue
            delta = found.value.value - theirs.value
            numbers = [delta if numeral.signed else abs(delta)]
            if numeral.percent and theirs.value:
                numbers = [100 * numbers[0] / theirs.value]
            if any(numeral.says(number) for number in numbers):
                return True
    margins = (
        evidence.judge(one, metric, base).margin for one in bound.sources for metric in bound.metrics for base in bases
    )
    return numeral.spread and any(numeral.says(margin) for margin in margins if margin is not None)


def _settings(title: str, sources: list[str], evidence: Evidence) -> dict[str, set[float]]:
    """The settings that a column is about."""
    title = title.strip()
    if not title or not sources:
        return {}
    known = evidence.setting_values([source for source in sources if source in evidence.sources])
    exact = {
        key: values for key, values in known.items() if key.replace("_", " ") == re.sub(r"[_ ]+", " ", title).lower()
    }
    return exact or {
        key: values for key, values in known.items() if re.search(setting_words(key), title, re.IGNORECASE)
    }


def _verdict(
    cell: Cell, sources: list[str], metrics: list[str], title: Sentence, evidence: Evidence
) -> Iterator[Fault]:
    """A verdict in a cell has to be the comparison's."""
    found = _VERDICT.search(cell.text)
    mark = next((said for sign, said in _MARKS.items() if cell.text.rstrip().endswith(f" {sign}")), "")
    said = found[0] if found else mark
    runs = [source for source in sources if source in evidence.runs]
    if not said or len(runs) != 1 or len(metrics) != 1:
        return
    base = next(iter(resolve(title.named_sources, runs, evidence)), "")
    base = base if base in evidence.sources else evidence.base_of(runs[0])
    right = evidence.judge(runs[0], metrics[0], base).verdict
    # One mark stands for two, of which a run has one or the other.
    if right != said and not (mark and said in MARKS and MARKS.get(right) == MARKS[said]):
        yield Fault(cell.start, f"'{said}': {metrics[0]} of {runs[0]} beside {base} is {right}", right)


def _judgement(cell: Cell, sources: list[str], evidence: Evidence) -> Iterator[Fault]:
    """A word that judges a run says less than a verdict, which is checked."""
    if not any(source in evidence.runs for source in sources):
        return
    text = _VERDICT.sub(lambda found: " " * len(found[0]), cell.text)
    for word in COMPARATIVES:
        if word.kind in ("better", "worse") and (found := word.pattern.search(text)):
            yield Fault(cell.start + found.start(), f"'{found[0]}' in a table: give the verdict or the result")
            return


def _is_quoted(cell: Cell, row: Passage, document: Document, evidence: Evidence) -> bool:
    """Tell whether a cell of the loop's own notes holds a run's change, or why an attempt of it failed."""
    name, _, _ = row.cells[0].text.strip().partition(",")
    return document.form == "txt" and evidence.quoted.is_in_cell(name, normalised(cell.text))


def _free(cell: Cell, reader: Reader, evidence: Evidence, row: Passage) -> Iterator[Fault]:
    """A cell that no run or metric is named for: only numbers that need not be results may stand there."""
    words = f"{row.header[0] if row.header else ''} {row.cells[0].text} "
    sentence = reader.read_text(Passage("sentence", cell.start - len(words), words + cell.text))
    for numeral in sentence.numerals:
        if numeral.start >= len(words) and not is_allowed(numeral, sentence, evidence):
            yield Fault(
                cell.start + numeral.start - len(words), f"{numeral.text}: neither row nor column names a result"
            )
