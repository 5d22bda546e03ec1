"""One reading of a block placed in a file: the spans that change and their new lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from agent.edit.match import ELLIPSIS, EXACT, Found, Many, Scope, find, trim
from agent.edit.text import Doc, Line
from agent.edit.transplant import Unfit, transplant
from agent.edit.types import Split

_DOTS = {"...", "…"}
_EMPTY_WORDS = {
    *("pass", "return", "else:", "try:", "break", "continue", "end", "fi", "done", "finally:", "none", "true"),
    *("false", "return none", "return true", "return false", "endif", "raise", "...", "if", "else", "null"),
}


@dataclass(frozen=True)
class Piece:
    """New lines for the span from ``start`` up to ``end`` (lines from 0)."""

    start: int
    end: int
    out: list[Line]


@dataclass(frozen=True)
class Placement:
    """Where a block goes and what it puts there, in order; several pieces only where ``...`` left lines out."""

    tier: str
    pieces: list[Piece]

    @property
    def span(self) -> tuple[int, int]:
        """First line, from 0, and the line after the last."""
        return self.pieces[0].start, self.pieces[-1].end


def place(doc: Doc, split: Split, scope: Scope) -> Placement | Many | None:
    """Find the SEARCH of a block and carry its change over to the real lines.

    Args:
        doc: the file.
        split: the block's text; SEARCH has at least one line.
        scope: which tiers to try.

    Returns:
        The placement, or the several places, or None.

    Raises:
        Unfit: the place is known but REPLACE cannot be carried over.
    """
    found = find(doc, split.search, scope)
    if isinstance(found, Found):
        return Placement(found.tier, [_piece(doc, found, split.search, split.replace)])
    if found or scope == "exact" or not any(line.strip() in _DOTS for line in split.search):
        return found
    return _place_elided(doc, split)


def _piece(doc: Doc, found: Found, search: Sequence[str], replace: Sequence[str]) -> Piece:
    span = doc.span(found.start, found.end)
    if found.tier == EXACT and len(set(doc.ends[found.start : found.end])) == 1:
        return Piece(found.start, found.end, [(line, None if i else span[0][1]) for i, line in enumerate(replace)])
    real: list[Line | None] = [None] * len(search)
    real[found.lead : found.lead + len(span)] = span
    return Piece(found.start, found.end, transplant(real, search, replace, found.shift))


def _place_elided(doc: Doc, split: Split) -> Placement | Many | None:
    """A SEARCH whose lines of dots stand for lines left out: each piece between them is placed on its own."""
    wanted, new = _pieces(split.search), _pieces(split.replace)
    places: list[Found | None] = []
    for piece in wanted:
        found = find(doc, piece) if trim([line.strip() for line in piece])[1] else None
        if isinstance(found, Many):
            return Many(ELLIPSIS, found.starts)
        if found is None and trim([line.strip() for line in piece])[1]:
            return None
        places.append(found)
    known = [found for found in places if found]
    if not known:
        return None
    if len(wanted) != len(new):
        raise Unfit(
            f'ELLIPSIS: SEARCH has {len(wanted) - 1} lines of "..." and REPLACE has {len(new) - 1}; they must be paired'
        )
    if any(a.end > b.start for a, b in pairwise(known)):
        raise Unfit('ELLIPSIS: the pieces between the "..." lines stand in another order in the file')
    pieces = []
    for found, old, replacement in zip(places, wanted, new):
        if found:
            pieces.append(_piece(doc, found, old, replacement))
        elif any(line.strip() for line in replacement):
            raise Unfit('ELLIPSIS: REPLACE adds lines beside a "..." where SEARCH has none to show the place')
    return Placement(ELLIPSIS, pieces)


def _pieces(lines: Sequence[str]) -> list[list[str]]:
    pieces: list[list[str]] = [[]]
    for line in lines:
        if line.strip() in _DOTS:
            pieces.append([])
        else:
            pieces[-1].append(line)
    return pieces


def unwrapped(split: Split) -> Split | None:
    """The same without a code fence around SEARCH, and around REPLACE if it has one; None where SEARCH has none."""
    search, replace = _unfenced(split.search), _unfenced(split.replace)
    if not search or search == split.search:
        return None
    return Split(search, replace, split.drops, split.plausible)


def _unfenced(lines: tuple[str, ...]) -> tuple[str, ...]:
    if len(lines) > 2 and lines[0].startswith(("```", "~~~")) and lines[-1].strip() == lines[0][:3]:
        return lines[1:-1]
    return lines


def telling(lines: Sequence[str]) -> bool:
    """Tell whether text says enough that finding it once means something: not blank, a bracket or a lone keyword."""
    words = [line.strip() for line in lines if line.strip()]
    if not any(char.isalnum() for word in words for char in word):
        return False
    text = "".join("".join(words).split())
    return len(text) >= 3 and any(word.lower() not in _EMPTY_WORDS for word in words)
