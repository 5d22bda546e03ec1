"""A document as the units that are checked: sentences, headings, and rows of tables with their header."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from agent.audit.document import CITED, REFERRED, Document

_HEADINGS = {
    "tex": re.compile(r"\\(?:(?P<level>(?:sub){0,2})section|paragraph|title|part|chapter)\*?\s*\{(?P<title>[^{}]*)\}"),
    "md": re.compile(r"^(?P<level>#{1,6})\s+(?P<title>.+)$", re.MULTILINE),
}
_TABLES = {
    "tex": re.compile(r"(?s)\\begin\{(?P<kind>tabular[x*]?|longtable)\}(?P<body>.*?)\\end\{(?P=kind)\}"),
    "md": re.compile(r"(?m)^[^\n|-]*\|.*\n[ |:-]*-[ |:-]*\n(?:.*\|.*(?:\n|\Z))+"),
    "txt": re.compile(r"(?m)^.*\S {2,}\S.*\n-{3,}(?:  +-+)+ *\n(?:(?!\s*$).+(?:\n|\Z))+"),
}
_ABBREVIATIONS = re.compile(
    r"(?:\b(?:al|e\.g|i\.e|Figs?|Eqs?|Secs?|Tabs?|App|vs|cf|approx|resp|No|Nos|St|Dr)|\b[A-Z]|(?:^|\n)\s*\d+)\.$"
)
_END = re.compile(rf"[.!?][\"')\]]*\s+(?=[\"'(\[]*(?:[A-Z{REFERRED}{CITED}]|run[_ ]))")
# A line of its own, though no empty line stands before it: an item, or a label such as `Settings: ...`.
_OWN_LINE = re.compile(r"\n(?=\s*(?:[-*+•] |\d+[.)] |[A-Z][\w ()]{0,40}: |\\item|\|))")
_RUN = re.compile(r"\bruns?[_ ]{0,2}(\d+)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Cell:
    """A cell of a table: where it starts in the document, and its text."""

    start: int
    text: str


@dataclass(frozen=True)
class Passage:
    """A unit that is checked.

    Args:
        kind: What it is.
        start: Where it starts in the document; character i of `text` stands at `start + i`.
        text: The masked text, line ends made spaces.
        run: The run that the heading above it is about, if it is one.
        section: The heading above it.
        chapter: The heading of the first level above it.
        cells: Of a row.
        header: The texts of the table's first row, cell by cell.
        caption: What is said of the table.
    """

    kind: Literal["sentence", "heading", "row"]
    start: int
    text: str
    run: str = ""
    section: str = ""
    chapter: str = ""
    cells: tuple[Cell, ...] = ()
    header: tuple[str, ...] = ()
    caption: str = ""


def passages(document: Document) -> list[Passage]:
    """Take a document apart, in its order."""
    form = "tex" if document.form == "tex" else "md"
    # Markup is found in the text as written, and read from the masked one.
    source = _uncommented(document)
    tables = list(_tables(document, source))
    headings = [found for found in _HEADINGS[form].finditer(source) if not _inside(found.start(), tables)]
    cuts = sorted([*((h.start(), h.end(), h) for h in headings), *((s, e, rows) for s, e, rows in tables)], key=_first)
    made: list[Passage] = []
    place, section, chapter, run = 0, "", "", ""
    for start, end, what in cuts:
        made += [replace(one, chapter=chapter) for one in _sentences(document.masked, place, start, section, run)]
        if isinstance(what, re.Match):
            section = what["title"].strip()
            run = _run_of(section)
            chapter = section if what["level"] in ("", "#", "##") else chapter
            text = document.masked[what.start("title") : what.end("title")]
            made.append(Passage("heading", what.start("title"), _flat(text), run, section))
        elif isinstance(what, list):
            made += [_placed(row, section, run) for row in what]
        place = end
    rest = _sentences(document.masked, place, len(document.masked), section, run)
    return [*made, *(replace(one, chapter=chapter) for one in rest)]


def _first(cut: tuple[int, int, object]) -> int:
    return cut[0]


def _placed(row: Passage, section: str, run: str) -> Passage:
    return replace(row, section=section, run=run)


def _inside(place: int, tables: list[tuple[int, int, list[Passage]]]) -> bool:
    return any(start <= place < end for start, end, _ in tables)


def _run_of(title: str) -> str:
    numbers = {found[1] for found in _RUN.finditer(title.replace("\\_", "_"))}
    return f"run_{numbers.pop()}" if len(numbers) == 1 else ""


def _uncommented(document: Document) -> str:
    if document.form != "tex":
        return re.sub(r"(?ms)^```.*?^```", lambda found: re.sub(r"[^\n]", " ", found[0]), document.text)
    return re.sub(r"(?<!\\)%[^\n]*", lambda found: " " * len(found[0]), document.text)


def _sentences(masked: str, start: int, end: int, section: str, run: str) -> Iterator[Passage]:
    for block in re.finditer(r"(?:[^\n]|\n(?!\s*\n))+", masked[start:end]):
        place = start + block.start()
        for line in _split(block[0], _OWN_LINE):
            piece = block[0][line[0] : line[1]]
            for first, last in _split(piece, _END):
                text = piece[first:last]
                lead = len(text) - len(text.lstrip())
                if text.strip():
                    yield Passage("sentence", place + line[0] + first + lead, _flat(text.strip()), run, section)


def _split(text: str, pattern: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    start = 0
    for found in pattern.finditer(text):
        if pattern is _END and _ABBREVIATIONS.search(text[: found.start() + 1]):
            continue
        yield start, found.end()
        start = found.end()
    yield start, len(text)


def _flat(text: str) -> str:
    return text.replace("\n", " ")


def _tables(document: Document, source: str) -> Iterator[tuple[int, int, list[Passage]]]:
    if document.form == "tex":
        for found in _TABLES["tex"].finditer(source):
            yield found.start(), found.end(), _tex_rows(document, source, found)
        return
    taken: list[tuple[int, int]] = []
    for form in ("md", "txt"):
        for found in _TABLES[form].finditer(source):
            if not any(start < found.end() and found.start() < end for start, end in taken):
                taken.append((found.start(), found.end()))
                rows = _aligned_rows if form == "txt" else _pipe_rows
                yield found.start(), found.end(), rows(document, found.start(), found.end())


def _tex_rows(document: Document, source: str, table: re.Match[str]) -> list[Passage]:
    begin = source.rfind("\\begin{table", 0, table.start())
    end = source.find("\\end{table", table.end())
    around = document.masked[begin if begin >= 0 else table.start() : end if end >= 0 else table.end()]
    caption = _flat(around[: table.start() - begin] + around[table.end() - begin :]) if begin >= 0 else ""
    rows: list[list[Cell]] = []
    place = table.start("body")
    for line in re.split(r"(\\\\)", source[table.start("body") : table.end("body")]):
        if line != "\\\\" and ("&" in line):
            cells, at = [], place
            for cell in re.split(r"(?<!\\)(&)", line):
                if cell != "&":
                    cells.append(Cell(at, _flat(document.masked[at : at + len(cell)])))
                at += len(cell)
            rows.append(cells)
        place += len(line)
    return _rows(rows, caption)


def _pipe_rows(document: Document, start: int, end: int) -> list[Passage]:
    rows = []
    place = start
    for number, line in enumerate(document.masked[start:end].splitlines(keepends=True)):
        if number != 1:
            cells, at = [], place
            for cell in re.split(r"(\|)", line.rstrip("\n")):
                if cell != "|":
                    cells.append(Cell(at, cell))
                at += len(cell)
            rows.append(cells[1:-1] if line.lstrip().startswith("|") else cells)
        place += len(line)
    return _rows(rows, "")


def _aligned_rows(document: Document, start: int, end: int) -> list[Passage]:
    lines = document.masked[start:end].split("\n")
    spans = [(found.start(), found.end()) for found in re.finditer(r"-+", lines[1])]
    rows, place = [], start
    for number, line in enumerate(lines):
        if number != 1 and line.strip():
            ends = [next_start for next_start, _ in spans[1:]] + [max(len(line), spans[-1][1])]
            rows.append([Cell(place + s, line[s:e]) for (s, _), e in zip(spans, ends, strict=True)])
        place += len(line) + 1
    return _rows(rows, "")


def _rows(rows: list[list[Cell]], caption: str) -> list[Passage]:
    if not rows:
        return []
    header = tuple(cell.text.strip() for cell in rows[0])
    made = []
    for row in rows[1:]:
        text = "  ".join(cell.text for cell in row)
        made.append(Passage("row", row[0].start, text, cells=tuple(row), header=header, caption=caption))
    return made
