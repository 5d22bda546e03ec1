"""For a SEARCH that stands nowhere, the region of the file that is most like it: a suggestion, never applied."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from agent.edit.text import Doc

LEAST_LIKENESS = 0.6
_WORD = re.compile(r"\w+")
_TOKEN = re.compile(r"\w+|[^\w\s]")
_LINE_CHARS = 400
_MOST_SEARCH_LINES = 60
_COMMON = 50
_WINDOWS = 6


@dataclass(frozen=True)
class Suggestion:
    """The region most like a SEARCH.

    Args:
        start: its first line, from 0.
        end: the line after its last.
        likeness: 0 to 1.
        search_line: the first line of SEARCH, from 0, that differs from the region; None when none does.
    """

    start: int
    end: int
    likeness: float
    search_line: int | None


def nearest(doc: Doc, search: Sequence[str]) -> Suggestion | None:
    """The most similar region, at 0.6 likeness or more.

    Args:
        doc: the file.
        search: the lines that were not found.
    """
    wanted = [line.strip() for line in search[:_MOST_SEARCH_LINES]]
    if not any(wanted) or not len(doc):
        return None
    votes = _votes_by_line(doc, wanted)
    best = _best(doc, wanted, votes)
    if best is None or best[0] < LEAST_LIKENESS:
        other = _best(doc, wanted, _votes_by_word(doc, wanted))
        best = max((found for found in (best, other) if found), default=None)
    if best is None or best[0] < LEAST_LIKENESS:
        return None
    likeness, start = best
    end = min(len(doc), start + len(search))
    return Suggestion(start, end, likeness, first_difference(doc.lines[start:end], search))


def first_difference(actual: Sequence[str], search: Sequence[str]) -> int | None:
    """The first line, from 0, in which SEARCH differs, trailing white space aside; the end counts as a difference."""
    for number, line in enumerate(search):
        if number >= len(actual) or actual[number].rstrip() != line.rstrip():
            return number
    return None


def likeness(a: str, b: str) -> float:
    """The likeness of two lines, 0 to 1: the share of words and signs in common; long lines by their ends."""
    if a == b:
        return 1.0
    left, right = Counter(_TOKEN.findall(_clipped(a))), Counter(_TOKEN.findall(_clipped(b)))
    total = left.total() + right.total()
    return 2 * (left & right).total() / total if total else 0.0


def _clipped(line: str) -> str:
    return line if len(line) <= 2 * _LINE_CHARS else line[:_LINE_CHARS] + " " + line[-_LINE_CHARS:]


def _votes_by_line(doc: Doc, wanted: Sequence[str]) -> Counter[int]:
    """Starts at which lines of SEARCH would stand right, weighed by what the lines say."""
    votes: Counter[int] = Counter()
    places: dict[str, list[int]] = {line: [] for line in wanted if line}
    for place, line in enumerate(doc.stripped):
        if line in places:
            places[line].append(place)
    for number, line in enumerate(wanted):
        at = places.get(line, [])
        if len(at) <= _COMMON:
            for place in at:
                votes[place - number] += min(len(line), 40)
    return votes


def _votes_by_word(doc: Doc, wanted: Sequence[str]) -> Counter[int]:
    """The same by the words of each line."""
    words = [set(_WORD.findall(_clipped(line))) for line in wanted]
    asked = set().union(*words)
    index: dict[str, list[int]] = {}
    for number, line in enumerate(doc.stripped):
        for word in asked.intersection(_WORD.findall(_clipped(line))):
            index.setdefault(word, []).append(number)
    votes: Counter[int] = Counter()
    for number, line_words in enumerate(words):
        for word in line_words:
            at = index.get(word, ())
            if len(at) <= 4 * _COMMON:
                for place in at:
                    votes[place - number] += min(len(word), 12)
    return votes


def _best(doc: Doc, wanted: Sequence[str], votes: Counter[int]) -> tuple[float, int] | None:
    """The likeness and the start of the best of the windows with the most votes."""
    found = [(_window_likeness(doc, wanted, start), start) for start, _ in votes.most_common(_WINDOWS)]
    found = [(share, max(0, min(start, len(doc) - 1))) for share, start in found]
    return max(found, key=lambda pair: (pair[0], -pair[1]), default=None)


def _window_likeness(doc: Doc, wanted: Sequence[str], start: int) -> float:
    total = shared = 0.0
    for number, line in enumerate(wanted):
        place = start + number
        real = doc.stripped[place] if 0 <= place < len(doc) else ""
        weight = 1.0 + min(max(len(line), len(real)), 80)
        total += weight
        shared += weight * likeness(line, real)
    return shared / total if total else 0.0
