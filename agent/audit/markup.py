"""Faults that are seen before LaTeX runs: citations, figures, labels, underscores, doubled headers, placeholders."""

import difflib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from agent.audit.bibliography import Entry
from agent.audit.document import Document
from agent.audit.numbers import Fault

_PLACEHOLDERS = re.compile(
    r"\bTODO\b|\bTBD\b|\bFIXME\b|\bXXX+\b|\?\?\?|\[(?:insert|citation|cite|ref|number|figure|result)[^\]\n]*\]"
    r"|\binsert [\w ]{0,30}here\b"
    r"|\b(?:lorem ipsum|your (?:text|title|abstract) here|to be (?:filled|written|added|determined))\b|\\todo\b"
    r"|(?-i:<[A-Z_ ]{4,}>)"
    r"|\bplaceholder\b",
    re.IGNORECASE,
)
_CITE = re.compile(r"\\(?:[Cc]ite\w*)\*?(?:\[[^\]]*\])*\{(?P<keys>[^{}]*)\}")
_PANDOC = re.compile(r"(?<![\w.])@(?P<keys>[A-Za-z][\w:.-]*\w)")
_SPOKEN = re.compile(
    r"\b(?P<who>[A-Z][\w'’-]+)(?P<others>(?:,? (?:and|&) [A-Z][\w'’-]+| et al\.?)?),? \(?(?P<year>(?:19"
    r"|20)\d\d)[a-z]?\)?"
)
_GRAPHICS = re.compile(r"\\includegraphics\*?(?:\[[^\]]*\])?\{(?P<file>[^{}]*)\}")
_IMAGES = re.compile(r"!\[[^\]]*\]\((?P<file>[^)\s]+)\)|(?<![\w/])(?P<bare>figures/[\w./-]+\.(?:png|pdf|svg|jpe?g))")
_NOT_NAMES = {
    "In", "Since", "Until", "By", "From", "January", "February", "March", "April", "May", "June", "July", "August",
    "September", "October", "November", "December", "Run", "Runs", "Section", "Table", "Figure", "Of", "After",
    "Before", "During", "Version", "Early", "Late", "Spring", "Summer", "Autumn", "Winter", "The",
}  # fmt: skip


def check_markup(document: Document) -> Iterator[Fault]:
    """Find doubled labels and headers, references that lead nowhere, bare underscores and placeholders.

    Args:
        document: The text.
    """
    for found in _PLACEHOLDERS.finditer(_without_comments(document)):
        yield Fault(found.start(), f"placeholder '{found[0]}'")
    if document.form == "tex":
        yield from _labels(document)
        yield from _underscores(document)
    yield from _headers(document)


def check_citations(document: Document, bibliography: dict[str, Entry]) -> Iterator[Fault]:
    """Find citations of works that the bibliography does not have.

    Args:
        document: The text.
        bibliography: What may be cited, by key.
    """
    text = _without_comments(document)
    pattern = _CITE if document.form == "tex" else _PANDOC
    cited = list(pattern.finditer(text))
    for found in cited:
        for key in (part.strip() for part in found["keys"].split(",")):
            if key and key not in bibliography:
                # Another work of the same author is no suggestion; another way to write the key is.
                near = difflib.get_close_matches(key, bibliography, 1, 0.85)
                yield Fault(found.start(), f"the bibliography has no '{key}'", near[0] if near else "")
    for found in re.finditer(r"\\bibitem(?:\[[^\]]*\])?\{([^{}]*)\}", text):
        yield Fault(found.start(), f"'{found[1]}' is typed into the text: cite records of references.bib")
    known = {(name.lower(), entry.year) for entry in bibliography.values() for name in entry.surnames[:1]}
    for found in _SPOKEN.finditer(text):
        if found["who"] in _NOT_NAMES or not (found["others"] or found[0].endswith(")") or _parenthesised(text, found)):
            continue
        if (found["who"].lower(), found["year"]) not in known:
            yield Fault(found.start(), f"no record of '{found[0].strip()}' in the bibliography")


def check_figures(document: Document, folder: Path) -> Iterator[Fault]:
    """Find figures that are missing or empty.

    Args:
        document: The text; figures are looked for beside it and in `folder`.
        folder: The campaign's.
    """
    text = _without_comments(document)
    for found in (_GRAPHICS if document.form == "tex" else _IMAGES).finditer(text):
        name = found["file"] or found.groupdict().get("bare") or ""
        if name.startswith(("http://", "https://")):
            continue
        problem = _missing(name, document.path.parent, folder)
        if problem:
            yield Fault(found.start(), f"the figure {name} {problem}")


def _missing(name: str, *folders: Path) -> str:
    endings = ("",) if Path(name).suffix else (".png", ".pdf", ".jpg")
    places = [base / f"{name}{end}" for folder in folders for base in (folder, folder / "figures") for end in endings]
    there = [path for path in places if path.is_file()]
    if not there:
        return "does not exist"
    return "is empty" if all(path.stat().st_size == 0 for path in there) else ""


def _parenthesised(text: str, found: re.Match[str]) -> bool:
    """`(Smith, 2023)`: a citation in brackets."""
    return text[: found.start()].endswith("(") and text[found.end() : found.end() + 1] in (")", ";", ",", "")


def _without_comments(document: Document) -> str:
    if document.form == "tex":
        return re.sub(r"(?<!\\)%[^\n]*", lambda found: " " * len(found[0]), document.text)
    return re.sub(r"(?ms)^```.*?^```", lambda found: re.sub(r"[^\n]", " ", found[0]), document.text)


def _labels(document: Document) -> Iterator[Fault]:
    text = _without_comments(document)
    found = list(re.finditer(r"\\label\{([^{}]*)\}", text))
    seen: set[str] = set()
    for one in found:
        if one[1] in seen:
            yield Fault(one.start(), f"the label '{one[1]}' stands there twice")
        seen.add(one[1])
    included = re.findall(r"\\(?:input|include)\{([^{}]*)\}", text)
    for name in included:
        path = document.path.parent / (name if name.endswith(".tex") else f"{name}.tex")
        if path.is_file():
            seen |= set(re.findall(r"\\label\{([^{}]*)\}", path.read_text(encoding="utf-8", errors="replace")))
    for one in re.finditer(r"\\(?:ref|eqref|autoref|[cC]ref|pageref)\{([^{}]*)\}", text):
        for name in one[1].split(","):
            if name.strip() not in seen:
                near = difflib.get_close_matches(name.strip(), seen, 1)
                yield Fault(
                    one.start(), f"\\ref to '{name.strip()}', which no \\label defines", near[0] if near else ""
                )


_NAMES_IN_TEX = re.compile(
    r"\\(?:res|verdict|num|label|ref|eqref|autoref|[cC]ref|pageref|[cC]ite\w*|includegraphics|input|include|bibliography\w*|usepackage"
    r"|url|href|hypertarget|hyperlink|hyperref|path|begin|end|graphicspath|documentclass)\*?(?:\[[^\]]*\])*(?:\{[^{}]*\})+"
)


def _underscores(document: Document) -> Iterator[Fault]:
    """An underscore outside mathematics stops LaTeX."""
    text = _without_comments(document)
    begin = text.find("\\begin{document}")

    def blank(found: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", found[0])

    for pattern in (
        r"(?s)\\begin\{(verbatim|lstlisting|minted|equation|align|gather|displaymath|multline|math)\*?\}.*?\\end\{\1\*?\}",
        r"(?s)\$\$.*?\$\$|\\\[.*?\\\]|\\\(.*?\\\)",
        r"(?<!\\)\$(?:[^$\n]|\n(?!\n))*?(?<!\\)\$",
        r"\\verb(\W).*?\1",
    ):
        text = re.sub(pattern, blank, text)
    text = _NAMES_IN_TEX.sub(blank, text)
    for found in re.finditer(r"(?<!\\)_", text):
        if found.start() > begin:
            word = re.search(r"[\w\\]*$", text[: found.start()])
            rest = re.match(r"\w*", text[found.start() :])
            name = f"{word[0] if word else ''}{rest[0] if rest else ''}"
            yield Fault(found.start(), f"the underscore in '{name}' is not escaped", name.replace("_", "\\_"))


def _headers(document: Document) -> Iterator[Fault]:
    text = _without_comments(document)
    pattern = (
        r"\\(?:(?:sub)*section|title|begin\{abstract)\*?\}?\{?(?P<title>[^{}\n]*)"
        if document.form == "tex"
        else (r"(?m)^#{1,3} +(?P<title>.+?) *$")
    )
    titles = list(re.finditer(pattern, text))
    often = Counter(found[0].strip().lower() for found in titles)
    seen: set[str] = set()
    for found in titles:
        key = found[0].strip().lower()
        if often[key] > 1 and key in seen:
            yield Fault(found.start(), f"the header '{found['title'].strip() or 'abstract'}' stands there twice")
        seen.add(key)
