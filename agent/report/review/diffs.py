"""Two versions of a file side by side: lines aligned, changed ones marked, Python coloured."""

from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Literal

CONTEXT = 3

Kind = Literal["same", "changed", "gone", "new", "gap"]


@dataclass(frozen=True)
class Line:
    """A row of a side-by-side diff: line numbers from 1 and HTML, None where a side has no line."""

    kind: Kind
    old_number: int | None = None
    old: str = ""
    new_number: int | None = None
    new: str = ""


def side_by_side(old: str, new: str) -> list[Line]:
    """Align two texts, with a few lines around each change.

    Args:
        old: Python source.
        new: Python source.

    Returns:
        Rows from top to bottom; a `gap` stands for lines that are the same and left out. Nothing when the texts are
        equal.
    """
    left, right = _coloured(old), _coloured(new)
    matcher = SequenceMatcher(None, old.splitlines(), new.splitlines(), autojunk=False)
    rows: list[Line] = []
    for group in matcher.get_grouped_opcodes(CONTEXT):
        if rows or group[0][1] > 0 or group[0][3] > 0:
            rows.append(Line("gap"))
        for tag, i1, i2, j1, j2 in group:
            rows += _rows(tag, range(i1, i2), range(j1, j2), left, right)
    return rows


def style_rules(style: str, prefix: str) -> str:
    """The CSS of one of pygments' styles.

    Args:
        style: Its name.
        prefix: The selector under which the rules hold.
    """
    from pygments.formatters import HtmlFormatter

    rules = HtmlFormatter(style=style).get_style_defs(prefix).splitlines()
    # Only the tokens: the page has line numbers and a background of its own.
    return "\n".join(rule for rule in rules if rule.startswith(f"{prefix} ."))


def _rows(tag: str, olds: range, news: range, left: tuple[str, ...], right: tuple[str, ...]) -> list[Line]:
    rows = []
    for place in range(max(len(olds), len(news))):
        i = olds[place] if place < len(olds) else None
        j = news[place] if place < len(news) else None
        kind: Kind = "same" if tag == "equal" else "new" if i is None else "gone" if j is None else "changed"
        rows.append(
            Line(
                kind,
                None if i is None else i + 1,
                "" if i is None else left[i],
                None if j is None else j + 1,
                "" if j is None else right[j],
            )
        )
    return rows


@lru_cache(maxsize=64)
def _coloured(source: str) -> tuple[str, ...]:
    """Each line of a source as HTML; a token that spans lines is closed and opened again at each line's end."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers.python import PythonLexer

    html = highlight(source, PythonLexer(stripnl=False, ensurenl=False), HtmlFormatter(nowrap=True))
    lines = html.split("\n")
    count = len(source.splitlines())
    return tuple(lines[:count]) + ("",) * (count - len(lines))
