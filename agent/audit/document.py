"""A text made ready for its audit: markup masked in place, so that every place keeps its line."""

import bisect
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from agent.audit.plain import Form, listings, look_alike, plain_text, speaks, with_digits
from agent.base.errors import AgentError
from agent.results.references import BRACED

# Private-use characters stand for what was taken out: a reference (its length kept), and a citation.
REFERRED, CITED = "\ue000", "\ue002"
LONGEST_LINE = 300
_SENTENCE_END = re.compile(r"[.!?][)}]*\s+(?=[A-Z\\$])")

_REFERENCES = {
    "tex": re.compile(
        r"\\(?:res|verdict)\s*\{(?P<source>[^{}]*)\}\s*\{(?P<metric>[^{}]*)\}|\\num\s*\{(?P<expression>[^{}]*)\}",
    ),
    "md": BRACED,
}
_FORMULA = (
    r"(?s)\\begin\{(equation|align|gather|displaymath|multline|eqnarray|flalign)\*?\}.*?\\end\{\1\*?\}|\\\[.*?\\\]"
    r"|\$\$.*?\$\$"
)
_WITHOUT_WORDS = (
    "ref|eqref|autoref|cref|Cref|pageref|label|includegraphics|input|include|bibliography|bibliographystyle|usepackage"
    "|documentclass|url|vspace|hspace|setlength|addtolength|definecolor|color|newcommand|renewcommand"
    "|cmidrule|multicolumn|multirow|resizebox|scalebox|graphicspath|pagestyle|thispagestyle|setcounter|input|date"
)
_TEX_STEPS: list[tuple[str, str]] = [
    (r"(?s)\\begin\{thebibliography\}.*?\\end\{thebibliography\}", " "),
    (r"\\(?:begin|end)\{[^{}]*\}(?:\[[^\]]*\])?(?:\{[^{}]*\})?", " "),
    (r"\\(?:[Cc]ite\w*|citep|citet)\*?(?:\[[^\]]*\])*\{[^{}]*\}", CITED),
    (rf"\\(?:{_WITHOUT_WORDS})\*?(?:\[[^\]]*\])?(?:\{{[^{{}}]*\}})?", " "),
    (r"\\hyperref\[[^\]]*\]|\\href\{[^{}]*\}", " "),
]
_PLAIN_STEPS: list[tuple[str, str]] = [
    (r"!\[[^\]]*\]\([^)]*\)", " "),
    (r"(?<=\])\([^)\s]*\)", " "),
    (r"https?://\S+", " "),
    (r"\[@[^\]]+\]|(?<!\w)@[a-z]\w+\d{4}\w*", CITED),
    (r"\(git diff [^)]*\)", " "),
]


@dataclass(frozen=True)
class Reference:
    """A reference in a text.

    Args:
        start: Where it stands.
        end: Where it ends.
        written: As it was written.
        expression: What it stands for, a value made of `source:metric`.
    """

    start: int
    end: int
    written: str
    expression: str


@dataclass(frozen=True)
class Document:
    """A text with its markup masked.

    Args:
        text: As it was read.
        masked: The same with markup, code and references replaced; places are the same in both.
        references: The references, in their order.
        form: What kind of text it is.
        path: Where it was read; figures are looked for beside it.
        listed: The lines of its listings, each with its place; they are masked.
    """

    text: str
    masked: str
    references: tuple[Reference, ...]
    form: Form
    path: Path
    listed: tuple[tuple[int, str], ...] = ()

    @cached_property
    def _ends(self) -> list[int]:
        return [found.start() for found in re.finditer("\n", self.text)]

    def line(self, place: int) -> int:
        """The number of the line, from 1, in which a place stands."""
        return bisect.bisect_left(self._ends, place) + 1

    def line_text(self, place: int) -> str:
        """The line of a place, without white space at its ends; of a long line the sentence, or what is near."""
        number = self.line(place) - 1
        start = self._ends[number - 1] + 1 if number else 0
        end = self._ends[number] if number < len(self._ends) else len(self.text)
        if end - start > LONGEST_LINE:
            cuts = [start, *(found.end() for found in _SENTENCE_END.finditer(self.text, start, end)), end]
            start = max(cut for cut in cuts[:-1] if cut <= place)
            end = min(cut for cut in cuts[1:] if cut > place)
            start = max(start, place - LONGEST_LINE // 2)
            end = min(end, start + LONGEST_LINE)
        return self.text[start:end].strip()

    @property
    def strict(self) -> bool:
        """Tell whether results are given as references here, so that a typed one is a slip even where it is right."""
        return self.form == "tex" and bool(self.references)


def read_document(path: Path) -> Document:
    """Read a .tex, .md or .txt file.

    Args:
        path: The file.

    Returns:
        The document.

    Raises:
        AgentError: It cannot be read, is no UTF-8, or is of another kind.
    """
    forms: dict[str, Form] = {".tex": "tex", ".md": "md", ".txt": "txt"}
    form = forms.get(path.suffix.lower())
    if form is None:
        raise AgentError(f"{path}: cannot audit a {path.suffix or 'file without an ending'}; give a .tex, .md or .txt")
    try:
        return make_document(path.read_text(encoding="utf-8"), form, path)
    except OSError as error:
        raise AgentError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise AgentError(f"{path} is no UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error


def make_document(text: str, form: Form, path: Path) -> Document:
    """Mask a text.

    Args:
        text: The text.
        form: How it is marked up.
        path: Where it stands, or would.
    """
    text = plain_text(text, form)
    masked = look_alike(text)
    listed = []
    for start, end, first, body in listings(text, form):
        masked = masked[:start] + re.sub(r"[^\n]", " ", masked[start:end]) + masked[end:]
        listed += [(first + line.start(), line[0]) for line in re.finditer(r"\S.*", body)]
    if form == "tex":
        masked = _replace(masked, r"(?<!\\)%[^\n]*", _spaces)
        masked = _without_preamble(masked)
    references: list[Reference] = []
    for pattern in (_REFERENCES[form],) if form == "md" else tuple(_REFERENCES.values()):
        masked = _taken_out(masked, pattern, references) if form == "tex" or pattern is _REFERENCES["md"] else masked
    if form == "tex":
        masked = _replace(masked, _FORMULA, _without_symbols)
    for pattern_text, filler in _TEX_STEPS if form == "tex" else _PLAIN_STEPS:
        masked = _replace(masked, pattern_text, partial(_filled, filler=filler))
    if form == "tex":
        masked = _tex_characters(masked)
    masked = masked.replace("`", " ").replace("**", "  ")
    # Hashes are names, also those that happen to hold digits alone.
    masked = _replace(masked, r"\b(?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)[0-9a-f]{7,64}\b", _spaces)
    ordered = tuple(sorted(references, key=lambda one: one.start))
    return Document(text, with_digits(masked), ordered, form, path, tuple(listed))


def _taken_out(text: str, pattern: re.Pattern[str], references: list[Reference]) -> str:
    def take(found: re.Match[str]) -> str:
        groups = found.groupdict()
        if groups.get("expression") is not None:
            expression = groups["expression"]
        elif groups.get("brace") is not None:
            expression = groups["brace"]
        else:
            expression = f"{groups['source'].strip()}:{groups['metric'].strip()}".replace("\\_", "_")
        references.append(Reference(found.start(), found.end(), found[0], expression))
        return REFERRED * (found.end() - found.start())

    return pattern.sub(take, text)


def _without_preamble(text: str) -> str:
    begin = text.find("\\begin{document}")
    if begin < 0:
        return text
    title = re.search(r"\\title\s*\{", text[:begin])
    keep = range(0)
    if title:
        depth, place = 1, title.end()
        while depth and place < begin:
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            place += 1
        keep = range(title.end(), place - 1)
    head = "".join(c if c == "\n" or place in keep else " " for place, c in enumerate(text[:begin]))
    return head + text[begin:]


def _tex_characters(text: str) -> str:
    def power(found: re.Match[str]) -> str:
        return f"e{found['exponent']}".ljust(len(found[0]))

    text = _replace(text, r"\s?\\(?:times|cdot)\s*10\^\{?(?P<exponent>-?\d+)\}?", power)
    text = _replace(text, r"\\(?:succ|gg|gtrsim|gtrapprox)(?:eq)?(?![A-Za-z])", lambda found: ">".ljust(len(found[0])))
    text = _replace(
        text, r"\\(?:prec|ll|lesssim|lessapprox)(?:eq)?(?![A-Za-z])", lambda found: "<".ljust(len(found[0]))
    )
    text = _replace(text, r"(?<=\d)\\,(?=\d{3})|(?<=\d)\{,\}(?=\d{3})", lambda found: "," * len(found[0]))
    text = text.replace("\\_", "__").replace("\\%", " %").replace("\\pm", "±  ").replace("\\&", "  ")
    text = _replace(text, r"(?<=[A-Za-z}])[_^](?:\{[^{}]*\}|\\?\w)|\^(?:\{[^{}]*\}|\w)", _spaces_in_math)
    text = _replace(text, r"\\[a-zA-Z]+\*?|\\.", lambda found: _spaces(found) if found[0] != "\\\\" else "\\\\")
    return text.replace("{", " ").replace("}", " ").replace("$", " ").replace("~", " ")


def _spaces_in_math(found: re.Match[str]) -> str:
    """A subscript is blanked; an underscore inside a name is left, since names are read."""
    inside = found[0]
    return inside if inside.startswith("_") and inside[1:2].isalpha() else _spaces(found)


def _replace(text: str, pattern: str, change: Callable[[re.Match[str]], str]) -> str:
    return re.sub(pattern, change, text)


def _without_symbols(found: re.Match[str]) -> str:
    """A displayed formula is blank, unless it speaks: then it is read as the sentence that it is."""
    if not speaks(found[0]):
        return _spaces(found)
    return re.sub(r"[_^]\{", "  ", found[0])


def _spaces(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found[0])


def _filled(found: re.Match[str], filler: str) -> str:
    blank = _spaces(found)
    return blank if filler == " " or not blank else filler + blank[1:]
