"""Labels of a paper and what they are numbered as, as LaTeX does it, for a page that LaTeX does not make."""

import re

_COUNTED = re.compile(
    r"\\(?P<section>section)\s*\{|\\begin\{(?P<kind>figure|table|equation|align)\}|\\end\{(?:figure|table|equation|align)\}"
    r"|\\label\{(?P<label>[^{}]*)\}"
)
_REFERENCE = re.compile(r"\\(?P<how>ref|autoref|cref|Cref|eqref)\{(?P<label>[^{}]*)\}")
_LABEL = re.compile(r"[ \t]*\\label\{[^{}]*\}")


def label_numbers(text: str) -> dict[str, str]:
    """The number that each label stands for.

    Args:
        text: The paper's sections, in their order.
    """
    counts: dict[str, int] = {}
    numbers: dict[str, str] = {}
    inside, section = "", "0"
    for found in _COUNTED.finditer(text):
        kind = "equation" if found["kind"] == "align" else found["section"] or found["kind"]
        if found["label"] is not None:
            numbers[found["label"]] = str(counts[inside]) if inside else section
        elif kind:
            counts[kind] = counts.get(kind, 0) + 1
            inside, section = ("", str(counts[kind])) if kind == "section" else (kind, section)
        else:
            inside = ""
    return numbers


def resolved(text: str, numbers: dict[str, str]) -> str:
    """A text with the numbers of what it refers to; captions start with theirs, equations end with it."""

    def put(found: re.Match[str]) -> str:
        number = numbers.get(found["label"], "?")
        return f"({number})" if found["how"] == "eqref" else number

    def numbered(found: re.Match[str]) -> str:
        label = re.search(r"\\label\{([^{}]*)\}", found[0])
        if label is None:
            return found[0]
        number = numbers[label[1]]
        if found["kind"] in ("figure", "table"):
            return found[0].replace("\\caption{", f"\\caption{{{found['kind'].title()} {number}: ", 1)
        return found[0].replace(label[0], f"\\quad ({number})")

    text = re.sub(r"(?s)\\begin\{(?P<kind>figure|table|equation|align)\}.*?\\end\{(?P=kind)\}", numbered, text)
    return _LABEL.sub("", _REFERENCE.sub(put, text))


def argument(text: str, command: str) -> str:
    """The argument of a command's first use, braces inside it kept; nothing where it is not used."""
    start = text.find(f"\\{command}{{")
    if start < 0:
        return ""
    depth, place = 1, start + len(command) + 2
    first = place
    while depth and place < len(text):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        place += 1
    return text[first : place - 1]
