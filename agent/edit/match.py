"""Where a SEARCH stands in a file: tiers from exact to tolerant; the first with a candidate must have exactly one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from agent.edit.indent import Shift, uniform_shift
from agent.edit.text import Doc
from agent.edit.unicode import fold, is_plain

EXACT = "exact"
TRAILING = "trailing space"
INDENT = "indent"
EDGES = "blank edges"
UNICODE = "unicode"
ELLIPSIS = "ellipsis"

MOST_PLACES = 200
"""Counting of candidates stops here: a SEARCH with so many is ambiguous whatever the rest."""


@dataclass(frozen=True)
class Found:
    """The one place where a SEARCH stands.

    Args:
        tier: how it was matched.
        start: first line of the place, from 0.
        end: the line after its last.
        lead: how many blank lines at the start of SEARCH have no counterpart in the file.
        shift: the uniform indent shift, if any.
    """

    tier: str
    start: int
    end: int
    lead: int = 0
    shift: Shift | None = None


@dataclass(frozen=True)
class Many:
    """A SEARCH that stands in more than one place: the first lines of these, from 0."""

    tier: str
    starts: tuple[int, ...]


Result = Found | Many | None
Scope = Literal["exact", "tolerant", "all"]


def find(doc: Doc, search: Sequence[str], scope: Scope = "all") -> Result:
    """Look for whole lines in a file.

    Args:
        doc: the file.
        search: the lines to find, at least one.
        scope: the first tier only, the later ones only, or all of them.

    Returns:
        The single place, or the several places of the first tier that has any, or None.
    """
    if scope != "tolerant":
        exact = _one(EXACT, windows(doc.lines, search), len(search))
        if exact or scope == "exact":
            return exact
    trailing = [line.rstrip() for line in search]
    found = _one(TRAILING, windows(doc.trailing, trailing), len(search))
    if found or not any(trailing):
        return found
    found = _shifted(INDENT, doc, trailing, 0)
    if found:
        return found
    lead, core = trim(trailing)
    if len(core) < len(trailing):
        starts = windows(doc.trailing, core)
        found = _one(EDGES, starts, len(core), lead) or _shifted(EDGES, doc, core, lead)
        if found:
            return found
    return None if doc.ascii and is_plain(core) else _folded(doc, core, lead)


def trim(lines: Sequence[str]) -> tuple[int, list[str]]:
    """The lines without the blank ones at either end, and how many were taken off the front."""
    first = next((n for n, line in enumerate(lines) if line), len(lines))
    last = next((n for n in range(len(lines), 0, -1) if lines[n - 1]), first)
    return first, list(lines[first:last])


def windows(keys: list[str], wanted: Sequence[str]) -> list[int]:
    """Starts of the runs of ``keys`` that equal ``wanted``, at most :data:`MOST_PLACES`."""
    size = len(wanted)
    if not size or size > len(keys):
        return []
    target = list(wanted)
    # The longest line is likely to be rare; looking for it alone runs at the speed of a list search.
    lead = max(range(size), key=lambda number: len(target[number]))
    starts: list[int] = []
    at = lead - 1
    while len(starts) < MOST_PLACES:
        try:
            at = keys.index(target[lead], at + 1, len(keys) - size + lead + 1)
        except ValueError:
            break
        if keys[at - lead : at - lead + size] == target:
            starts.append(at - lead)
    return starts


def _one(tier: str, starts: Sequence[int], size: int, lead: int = 0) -> Result:
    if not starts:
        return None
    if len(starts) > 1:
        return Many(tier, tuple(starts))
    return Found(tier, starts[0], starts[0] + size, lead)


def _shifted(tier: str, doc: Doc, wanted: Sequence[str], lead: int) -> Result:
    """Candidates whose lines equal the wanted ones but for one uniform indent shift."""
    starts = windows(doc.stripped, [line.lstrip(" \t") for line in wanted])
    return _fitting(tier, starts, wanted, lead, lambda at: doc.trailing[at : at + len(wanted)])


def _folded(doc: Doc, core: Sequence[str], lead: int) -> Result:
    """Candidates that are equal once Unicode punctuation and spaces are folded to ASCII."""
    wanted = [fold(line).rstrip() for line in core]
    # A folded line is at least a quarter as long as the line it came from, so longer ones need not be folded.
    longest = 4 * max(map(len, wanted)) + 80
    keys = [line if line.isascii() or len(line) > longest else fold(line).strip() for line in doc.stripped]
    starts = windows(keys, [line.strip() for line in wanted])
    return _fitting(UNICODE, starts, wanted, lead, lambda at: _folded_lines(doc.lines[at : at + len(wanted)]))


def _folded_lines(lines: Sequence[str]) -> list[str]:
    return [fold(line).rstrip() for line in lines]


def _fitting(
    tier: str, starts: Sequence[int], wanted: Sequence[str], lead: int, actual: Callable[[int], list[str]]
) -> Result:
    fits = [(at, shift) for at in starts if (shift := uniform_shift(wanted, actual(at))) is not None]
    if len(fits) > 1:
        return Many(tier, tuple(at for at, _ in fits))
    if not fits:
        return None
    at, shift = fits[0]
    return Found(tier, at, at + len(wanted), lead, shift if shift.moves else None)
