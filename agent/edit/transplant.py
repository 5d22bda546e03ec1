"""The difference between SEARCH and REPLACE carried over to the real lines, so that what it does not touch survives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from agent.edit.indent import Shift, indent_of
from agent.edit.text import Line
from agent.edit.unicode import fold, offsets

_TOKEN = re.compile(r"\w+|\s+|.", re.DOTALL)
_MOST_TOKENS = 2000
_MOST_PAIRS = 900


class Unfit(Exception):
    """REPLACE cannot be carried over; the message says why."""


def transplant(
    actual: Sequence[Line | None], search: Sequence[str], replace: Sequence[str], shift: Shift | None
) -> list[Line]:
    """Apply the difference between ``search`` and ``replace`` to the real lines.

    Args:
        actual: for each line of ``search`` its counterpart in the file; None for a blank edge line that the file lacks.
        search: the lines of SEARCH.
        replace: the lines of REPLACE.
        shift: the indent shift from the reply to the file.

    Returns:
        The new lines.

    Raises:
        Unfit: a line of REPLACE cannot be shifted like SEARCH was.
    """
    out: list[Line] = []
    for kind, a, b, c, d in _opcodes(search, replace):
        if kind == "equal":
            out.extend(line for line in actual[a:b] if line is not None)
        elif kind != "delete":
            partners = _partners(search[a:b], replace[c:d])
            for number, new in enumerate(replace[c:d]):
                partner = partners.get(number)
                line = None if partner is None else actual[a + partner]
                if line is None or partner is None:
                    out.append((_moved(new, shift), None))
                elif line[0] == search[a + partner] or _likeness(search[a + partner], new):
                    out.append((_carried(line[0], search[a + partner], new, shift), line[1]))
                else:
                    out.append((_moved(new, shift), line[1]))
    return out


def _opcodes(search: Sequence[str], replace: Sequence[str]) -> list[tuple[str, int, int, int, int]]:
    """Like SequenceMatcher's, with equal lines at both ends matched first."""
    n, m = len(search), len(replace)
    head, tail = _common_ends(search, replace)
    middle = SequenceMatcher(None, search[head : n - tail], replace[head : m - tail], autojunk=False).get_opcodes()
    codes: list[tuple[str, int, int, int, int]] = [("equal", 0, head, 0, head)]
    codes.extend((kind, a + head, b + head, c + head, d + head) for kind, a, b, c, d in middle)
    codes.append(("equal", n - tail, n, m - tail, m))
    return codes


def _partners(old: Sequence[str], new: Sequence[str]) -> dict[int, int]:
    """For each changed line the old line that it was made from, in order; a line with no likeness has none."""
    if not old or not new:
        return {}
    if len(old) == len(new):
        return {number: number for number in range(len(new))}
    if len(old) * len(new) > _MOST_PAIRS:
        return {}
    likeness = [[_likeness(a, b) for b in new] for a in old]
    best = [[0.0] * (len(new) + 1) for _ in range(len(old) + 1)]
    for i in range(len(old) - 1, -1, -1):
        for j in range(len(new) - 1, -1, -1):
            best[i][j] = max(best[i + 1][j], best[i][j + 1], best[i + 1][j + 1] + likeness[i][j])
    pairs: dict[int, int] = {}
    i = j = 0
    while i < len(old) and j < len(new):
        if likeness[i][j] and best[i][j] == best[i + 1][j + 1] + likeness[i][j]:
            pairs[j] = i
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs


def _likeness(a: str, b: str) -> float:
    """Share of common words, 0 below one half."""
    left, right = set(_TOKEN.findall(a[:400])), set(_TOKEN.findall(b[:400]))
    left.discard(" ")
    right.discard(" ")
    total = len(left) + len(right)
    share = 2 * len(left & right) / total if total else 0.0
    return share if share >= 0.5 else 0.0


def _moved(line: str, shift: Shift | None) -> str:
    if shift is None or not line.strip():
        return line
    indent = indent_of(line)
    moved = shift.apply(indent)
    if moved is None:
        raise Unfit(
            f"INDENT: REPLACE line {line.strip()[:60]!r} is indented less than the indent shift of SEARCH takes away"
        )
    return moved + line[len(indent) :]


def _carried(real: str, old: str, new: str, shift: Shift | None) -> str:
    """The real line with the difference between ``old`` and ``new``."""
    if real == old or not new.strip():
        return new
    new_indent, new_core, new_tail = _parts(new)
    old_indent, old_core, old_tail = _parts(old)
    real_indent, real_core, real_tail = _parts(real)
    indent = real_indent if new_indent == old_indent else indent_of(_moved(new_indent + "x", shift))
    core = new_core if real_core == old_core else _graft(real_core, old_core, new_core)
    return indent + core + (real_tail if new_tail == old_tail else new_tail)


def _parts(line: str) -> tuple[str, str, str]:
    indent = indent_of(line)
    core = line[len(indent) :].rstrip()
    return indent, core, line[len(indent) + len(core) :]


def _graft(real: str, old: str, new: str) -> str:
    """Like :func:`_carried` for two texts that are equal only once folded: unchanged stretches keep real characters."""
    if fold(real) != fold(old):
        return new
    place = {offset: number for number, offset in reversed(list(enumerate(offsets(real))))}
    place[len(fold(real))] = len(real)
    table = offsets(old)
    parts = []
    for equal, a, b, c, d in _token_diff(old, new):
        start, end = place.get(table[a]), place.get(table[b])
        known = equal and start is not None and end is not None
        parts.append(real[start:end] if known else new[c:d])
    return "".join(parts)


def _token_diff(old: str, new: str) -> list[tuple[bool, int, int, int, int]]:
    """Stretches of ``old`` and ``new`` in characters, each equal or not."""
    left, right = _TOKEN.findall(old), _TOKEN.findall(new)
    head, tail = _common_ends(left, right)
    at, bt = _starts(left), _starts(right)
    n, m = len(left) - tail, len(right) - tail
    if n + m - 2 * head > _MOST_TOKENS:
        codes = [("replace", head, n, head, m)]
    else:
        matcher = SequenceMatcher(None, left[head:n], right[head:m], autojunk=False)
        codes = [(kind, a + head, b + head, c + head, d + head) for kind, a, b, c, d in matcher.get_opcodes()]
    codes = [("equal", 0, head, 0, head), *codes, ("equal", n, len(left), m, len(right))]
    return [(kind == "equal", at[a], at[b], bt[c], bt[d]) for kind, a, b, c, d in codes]


def _common_ends(left: Sequence[str], right: Sequence[str]) -> tuple[int, int]:
    """The number of items that are equal at the start and, of the rest, at the end."""
    shorter = min(len(left), len(right))
    head = 0
    while head < shorter and left[head] == right[head]:
        head += 1
    tail = 0
    while tail < shorter - head and left[-1 - tail] == right[-1 - tail]:
        tail += 1
    return head, tail


def _starts(tokens: Sequence[str]) -> list[int]:
    starts = [0]
    for token in tokens:
        starts.append(starts[-1] + len(token))
    return starts
