"""The plain form of a text, made before anything in it is checked: what looks like a letter or a number is that one.

What a reader sees counts, however it was written: letters of other alphabets that look like Latin ones, signs that
take no room, words that markup takes apart, numbers in words. What has no plain form is a fault of its own.
"""

import html
import re
import unicodedata
from collections.abc import Iterator
from typing import Literal
from urllib.parse import unquote

Form = Literal["tex", "md", "txt"]
Place = tuple[int, str]

_LOOK_ALIKES = str.maketrans(
    "абвгеёіїјкмнорстухѕһԁԛԝъьАВЕЅІЈКМНОРСТХУԚԜαβγεηικνορτυχωϲΑΒΕΖΗΙΚΜΝΟΡΤΥΧıɑɡɩʟɴʀʏᴀᴄᴅᴇᴊᴋᴍᴏᴘᴛᴜᴠᴡᴢ",
    "abbreeiijkmhopctyxshdqwbbABESIJKMHOPCTXYQWabyenikvoptuxwcABEZHIKMNOPTYXiagilnryacdejkmoptuvwz",
)
# A Greek letter by itself is a symbol; among Latin ones it stands for one.
_WORD = re.compile(r"[^\W\d_]{2,}")
_FONTS = (
    r"text(?:bf|it|tt|sc|rm|sf|sl|md|up|normal)|emph|underline|uline|mbox|hbox|fbox|makebox|textcolor\{\w+\}|mathrm|mathit"
    r"|mathbf|mathsf|mathtt|lowercase|uppercase"
)
_IN_A_WORD = re.compile(
    rf"(?<=[A-Za-z])\\(?:{_FONTS})\s*\{{([^{{}}]*)\}}|\\(?:{_FONTS})\s*\{{([^{{}}]*)\}}(?=[A-Za-z])"
)
_NO_ROOM = re.compile(
    r"\\-|\\/|\\(?:relax|null|empty|allowbreak|nobreak)(?:\{\}|\b ?)"
    r"|\\(?:kern|hskip|hspace\*?)\s*\{?-?0?\.?0*(?:pt|em|ex)\}? ?"
    r"|\\discretionary\{[^{}]*\}\{[^{}]*\}\{[^{}]*\}|\{\}"
)
_GROUP = re.compile(
    r"\\[A-Za-z]+\*?(?:\s*\[[^\]]*\])*(?:\s*\{[^{}]*\})*|(?<=[A-Za-z])\{([A-Za-z]+)\}|\{([A-Za-z]+)\}(?=[A-Za-z])"
)
_TAG = re.compile(r"</?[a-z][^<>\n]*>|(?<=[^\W_])(?:<!--[^\n]*?-->|\*{1,3})(?=[^\W_])", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#\d+|#x[0-9a-f]+|[a-z]+\d*);", re.IGNORECASE)

_DRAWINGS = re.compile(
    r"\\begin\{(?:tikzpicture|pgfpicture|picture|pspicture|axis|forest|circuitikz|tikzcd)\*?\}|\\(?:tikz|draw|node|put|psset)\b"
)
_DEFINES = re.compile(
    r"\\(?:[egx]?def|let|futurelet|(?:re)?newcommand|providecommand|DeclareRobustCommand|DeclareMathOperator"
    r"|(?:re)?newenvironment|newtheorem|csname|catcode|char|symbol|scantokens|expandafter|special|reflectbox|rotatebox|write"
    r"|verbatiminput|lstinputlisting|inputminted)(?![A-Za-z])|\^\^[0-9a-f]"
)
# Signs that judge, and files beside the text; the appendix is the loop's own.
_UNSAID = re.compile(r"\\(?:checkmark|cmark|xmark|texttimes|ding|CheckmarkBold|XSolidBrush)(?![A-Za-z])|[✓✔✗✘☑☒]")
_ELSEWHERE = re.compile(r"\\(?:input|include|subfile|import|subimport|includepdf)(?![A-Za-z])\s*(?!\{appendix\})")
_TORN = re.compile(r"(?<![\\A-Za-z])[A-Za-z]+\\(?!and\b)[A-Za-z]+ ?(?:\{\}|\{[A-Za-z]+\})?(?=[A-Za-z])")
_MATH = re.compile(
    r"(?<!\\)\$\$?(?:[^$\\]|\\.)*?\$\$?|(?s:\\\[.*?\\\]|\\\(.*?\\\))"
    r"|(?s:\\begin\{(equation|align|gather|displaymath|multline|eqnarray|flalign|math)\*?\}.*?\\end\{\1\*?\})"
)
_URL = re.compile(r"\\(?:href|url|nolinkurl|path)\s*\{(?P<url>(?:[^{}]|\{[^{}]*\})*)\}")
_LINK = re.compile(r"https?://[^\s()<>]+")
_CITED_WITH = re.compile(r"\\[Cc]ite\w*\*?(?P<notes>(?:\[[^\]]*\])+)\{")
_COMMENT = re.compile(r"(?<!\\)(?:\\\\)*%(?P<text>[^\n]*)")
_LISTINGS = {
    "tex": re.compile(
        r"(?s)\\begin\{(?P<kind>verbatim|Verbatim|lstlisting|minted|alltt|comment|filecontents)\*?\}(?:\[[^\]]*\])?"
        r"(?P<text>.*?)\\end\{(?P=kind)\*?\}"
    ),
    "md": re.compile(r"(?ms)^```(?P<text>.*?)^```"),
}

_DIGITS = {
    word: value
    for value, word in enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
}
_DIGITS |= {"nought": 0, "naught": 0, "oh": 0}
_SMALL = _DIGITS | {
    word: value
    for value, word in enumerate(
        ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"],
        start=10,
    )
}
_TENS = {
    word: 10 * n
    for n, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], start=2)
}
_PARTS = {"tenths": 10, "hundredths": 100, "thousandths": 1000}
_WHOLE = (
    rf"(?:(?:{'|'.join(_SMALL)})[ -]hundred(?: and)?[ -]?)?(?:(?:{'|'.join(_TENS)})(?:[ -](?:{'|'.join(_DIGITS)}))?"
    rf"|(?:{'|'.join(sorted(_SMALL, key=len, reverse=True))})|(?:a |one )?hundred)"
)
_IN_WORDS = re.compile(
    rf"\b(?P<whole>{_WHOLE})?(?:\s+|\b)(?P<point>point(?:\s+(?:{'|'.join(_DIGITS)}))+)\b"
    rf"|\b(?P<share>{_WHOLE})(?=[ -](?:percent|per cent|percentage))"
    rf"|\b(?P<parts>{_WHOLE})[ -](?P<of>tenths|hundredths|thousandths)\b",
    re.IGNORECASE,
)


def plain_text(text: str, form: Form) -> str:
    """A text without signs that take no room and without markup inside words; its lines stay.

    Args:
        text: As it was read.
        form: How it is marked up.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if form == "md":
        text = _ENTITY.sub(lambda found: html.unescape(found[0]).replace("\n", " "), text)
    text = "".join(map(_sign, text))
    if form == "tex":
        text = re.sub(rf"(?<=[A-Za-z])(?:{_NO_ROOM.pattern})(?=[A-Za-z])", "", text)
        text = _IN_A_WORD.sub(lambda found: found[1] or found[2] or "", text)
        return _GROUP.sub(lambda found: found[1] or found[2] or found[0], text)
    return _TAG.sub("", text) if form == "md" else text


def look_alike(text: str) -> str:
    """A text with Latin letters for those that look like them, and without accents; every place stays."""
    if text.isascii():
        return text

    def read(found: re.Match[str]) -> str:
        word = "".join(_without_accent(letter) for letter in found[0])
        mixed = re.search(r"[A-Za-z]", word) is not None or re.search(r"[\u0400-\u052f]", word) is not None
        return word.translate(_LOOK_ALIKES) if mixed else word

    return _WORD.sub(read, text)


def with_digits(text: str) -> str:
    """A text with digits for decimals and percentages in words; every place stays."""
    return _IN_WORDS.sub(lambda found: _number(found).rjust(len(found[0])), text)


def unreadable(text: str) -> Iterator[Place]:
    """The places of a LaTeX text that have no plain form, with the reason."""
    body = re.sub(r"(?<!\\)(?:\\\\)*%[^\n]*", _blank, text)
    begin = body.find("\\begin{document}")
    body = _blank_text(body[: max(begin, 0)]) + body[max(begin, 0) :]
    for found in _DRAWINGS.finditer(body):
        yield found.start(), "a drawing cannot be checked: show a figure of the campaign, and say the rest in sentences"
    for found in _DEFINES.finditer(body):
        yield found.start(), f"'{found[0]}' hides what is printed: write it out"
    for found in _UNSAID.finditer(body):
        yield found.start(), f"'{found[0]}' judges and does not say by what: give the verdict or the result"
    for found in _ELSEWHERE.finditer(body):
        yield found.start(), f"'{found[0].strip()}' prints another file, which is not read: write the text here"
    for found in _TORN.finditer(_MATH.sub(_blank, body)):
        yield found.start(), f"'{found[0]}': a command inside a word; write the word plainly"


def listings(text: str, form: Form) -> list[tuple[int, int, int, str]]:
    """The listings of a text: where each starts and ends, and where its lines start, with them."""
    return [
        (m.start(), m.end(), m.start("text"), m["text"])
        for m in _LISTINGS["tex" if form == "tex" else "md"].finditer(text)
    ]


def asides(text: str, form: Form) -> Iterator[Place]:
    """The words beside the sentences of a text: comments, notes of citations, addresses with words in them."""
    if form != "tex":
        for found in _LINK.finditer(text):
            yield found.start(), _words_of(found[0])
        return
    for found in _COMMENT.finditer(text):
        yield found.start("text"), found["text"]
    for found in _CITED_WITH.finditer(text):
        yield found.start("notes"), re.sub(r"[\[\]]", " ", found["notes"])
    for found in _URL.finditer(text):
        yield found.start("url"), _words_of(found["url"])


def _words_of(address: str) -> str:
    return re.sub(r"[^A-Za-z0-9.%]+|%20", " ", unquote(address))


def speaks(math: str) -> bool:
    """Tell whether a displayed formula holds words rather than symbols."""
    said = re.sub(r"\\(?:text\w*|mbox|hbox|mathrm|operatorname\*?|intertext)\s*\{([^{}]*)\}", r" \1 ", math)
    said = re.sub(r"\\[ ,;:!]|~|\\q?quad\b", " ", said)
    said = re.sub(r"\\[A-Za-z]+", "|", said)
    return bool(
        re.search(r"(?:\b[A-Za-z]{2,}\b[ ,.]+){2,}[A-Za-z]{2,}\b", said)
        or re.search(r"\bruns?[\W_]*\d|\btop-?k\b|\brelu\b|\bbaseline", said, re.IGNORECASE)
    )


def _sign(letter: str) -> str:
    if letter.isascii():
        return letter if letter >= " " or letter in "\n\t" else " "
    kind = unicodedata.category(letter)
    # Private signs mark references in what is made of this text; nobody else may write them.
    if kind in ("Cf", "Co", "Cn", "Cc") or 0xFE00 <= ord(letter) <= 0xFE0F:
        return ""
    if kind in ("Zl", "Zp"):
        return " "
    if kind == "Nd":
        return str(unicodedata.digit(letter))
    return letter if kind == "No" else unicodedata.normalize("NFKC", letter)


def _without_accent(letter: str) -> str:
    first = unicodedata.normalize("NFD", letter)[0]
    return first if first.isascii() else letter


def _number(found: re.Match[str]) -> str:
    if found["share"]:
        return str(_value(found["share"]))
    if found["parts"]:
        return f"{_value(found['parts']) / _PARTS[found['of'].lower()]:g}"
    digits = "".join(str(_DIGITS[word]) for word in found["point"].lower().split()[1:])
    return f"{_value(found['whole']) if found['whole'] else 0}.{digits}"


def _value(words: str) -> int:
    value = 0
    for word in re.findall(r"[a-z]+", words.lower()):
        if word == "hundred":
            value = (value or 1) * 100
        else:
            value += _SMALL.get(word, _TENS.get(word, 0))
    return value


def _blank(found: re.Match[str]) -> str:
    return _blank_text(found[0])


def _blank_text(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)
