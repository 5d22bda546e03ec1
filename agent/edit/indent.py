"""One uniform indent shift between the lines of a reply and those of a file; the file's tabs stay tabs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

_TAB_WIDTHS = (4, 8, 2, 3, 1)


def indent_of(line: str) -> str:
    """The blanks and tabs that a line starts with."""
    return line[: len(line) - len(line.lstrip(" \t"))]


@dataclass(frozen=True)
class Shift:
    """The map from indents of a reply to indents of the file.

    Args:
        known: the file's indent for each indent of SEARCH.
        add: text put before every indent.
        drop: text taken from the front of every indent.
        tab: columns a tab counts where tabs and blanks are exchanged; 0 where they are not.
        by: columns added, where tabs and blanks are exchanged.
        tabs: the file indents with tabs.
    """

    known: dict[str, str] = field(default_factory=dict)
    add: str = ""
    drop: str = ""
    tab: int = 0
    by: int = 0
    tabs: bool = False

    @property
    def moves(self) -> bool:
        """The shift changes something."""
        return any(ours != theirs for ours, theirs in self.known.items())

    def apply(self, indent: str) -> str | None:
        """The file's indent for an indent of the reply, or None where it cannot be moved so far to the left."""
        if indent in self.known:
            return self.known[indent]
        if self.tab:
            columns = _columns(indent, self.tab) + self.by
            if columns < 0:
                return None
            return "\t" * (columns // self.tab) + " " * (columns % self.tab) if self.tabs else " " * columns
        if self.drop:
            return indent[len(self.drop) :] if indent.startswith(self.drop) else None
        return self.add + indent


def uniform_shift(ours: Sequence[str], theirs: Sequence[str]) -> Shift | None:
    """The one shift that turns the indents of ``ours`` into those of ``theirs``, or None.

    Args:
        ours: lines of SEARCH.
        theirs: as many lines of the file, equal to ``ours`` but for indents and trailing white space.
    """
    pairs = {(indent_of(a), indent_of(b)) for a, b in zip(ours, theirs) if a.strip()}
    known = dict(pairs)
    if len(known) < len(pairs):
        return None
    if not pairs:
        return Shift()
    sample, real = next(iter(pairs))
    tabs = any("\t" in b for _, b in pairs)
    if tabs != any("\t" in a for a, _ in pairs) and (tabs or any(b for _, b in pairs)):
        exchange = _exchange(pairs, known, tabs)
        if exchange:
            return exchange
    add = real[: len(real) - len(sample)] if real.endswith(sample) else ""
    if all(b == add + a for a, b in pairs):
        return Shift(known, add=add, tabs=tabs)
    drop = sample[: len(sample) - len(real)] if sample.endswith(real) else ""
    if all(a == drop + b for a, b in pairs):
        return Shift(known, drop=drop, tabs=tabs)
    return _exchange(pairs, known, tabs)


def _exchange(pairs: Iterable[tuple[str, str]], known: dict[str, str], tabs: bool) -> Shift | None:
    """A shift between an indent of tabs and one of blanks."""
    pairs = list(pairs)
    if not any("\t" in a or "\t" in b for a, b in pairs):
        return None
    widths = sorted(_TAB_WIDTHS, key=lambda width: (not _level(pairs, width), _TAB_WIDTHS.index(width)))
    for width in widths:
        moved = {_columns(b, width) - _columns(a, width) for a, b in pairs}
        if len(moved) == 1:
            return Shift(known, tab=width, by=moved.pop(), tabs=tabs)
    return None


def _level(pairs: Iterable[tuple[str, str]], width: int) -> bool:
    """With tabs this wide the indents are equal: only the characters differ."""
    return all(_columns(a, width) == _columns(b, width) for a, b in pairs)


def _columns(indent: str, tab: int) -> int:
    return sum(tab if char == "\t" else 1 for char in indent)
