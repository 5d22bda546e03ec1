"""A file while a reply is worked on: its snapshot, the edits taken so far, and the overlay of the two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from operator import eq

from agent.edit.place import Piece, Placement
from agent.edit.text import Doc, Line, Source, Span, spliced


@dataclass(frozen=True)
class Edit:
    """New lines for a span of the snapshot.

    Args:
        start: first line of the span, from 0.
        end: the line after its last.
        out: the new lines.
        owners: the blocks that made it, as positions in the list of blocks.
    """

    start: int
    end: int
    out: list[Line]
    owners: frozenset[int]


@dataclass(frozen=True)
class _Stretch:
    """A run of overlay lines that comes from one edit, or from the snapshot."""

    start: int
    end: int
    origin: int
    edit: Edit | None


@dataclass
class FileState:
    """One file of the workspace.

    Args:
        path: relative to the root.
        source: the file as it was read; never changed.
        edits: what the blocks so far change, ordered by place and disjoint.
    """

    path: str
    source: Source
    edits: list[Edit] = field(default_factory=list)
    _overlay: Doc | None = None

    @property
    def exists(self) -> bool:
        """The file is there, or a block before created it."""
        return self.source.raw is not None or bool(self.edits)

    @property
    def overlay(self) -> Doc:
        """The file as the edits taken so far would leave it."""
        if not self.edits:
            return self.source.doc
        if self._overlay is None:
            lines = self.lines()
            self._overlay = Doc([text for text, _ in lines], [end for _, end in lines])
        return self._overlay

    def lines(self) -> list[Line]:
        """The lines with all edits made."""
        return spliced(self.source.doc, self._spans())

    def encode(self) -> bytes:
        """The bytes of the file with all edits made.

        Raises:
            UnicodeEncodeError: a new character does not exist in the file's encoding.
        """
        return self.source.encode(self._spans())

    def _spans(self) -> list[Span]:
        return [(edit.start, edit.end, edit.out) for edit in self.edits]

    def clash(self, placement: Placement) -> frozenset[int]:
        """The blocks whose spans overlap with a placement in the snapshot."""
        return frozenset(
            owner
            for edit in self.edits
            for piece in placement.pieces
            if edit.start < piece.end and piece.start < edit.end
            for owner in edit.owners
        )

    def take(self, placement: Placement, owner: int) -> None:
        """Add edits placed in the snapshot, where they clash with none."""
        self._set([*self.edits, *(Edit(p.start, p.end, p.out, frozenset([owner])) for p in placement.pieces)])

    def take_over(self, placement: Placement, owner: int) -> None:
        """Add edits placed in the overlay: each is merged with the edits that made the lines it changes."""
        for piece in reversed(placement.pieces):
            self._merge(piece, owner)

    def rewrite(self, out: list[Line], owner: int) -> None:
        """Give the whole file new lines, whatever was edited before."""
        owners = frozenset([owner]).union(*(edit.owners for edit in self.edits))
        self._set([Edit(0, len(self.source.doc), out, owners)])

    def writers(self, line: int) -> set[int]:
        """The blocks that wrote a line of the new text; none when the line stood there before.

        Args:
            line: from 0, in the text with all edits made.
        """
        owners: set[int] = set()
        for stretch in self._stretches():
            if stretch.edit and stretch.start <= line < stretch.end:
                old = self.source.doc.lines[stretch.edit.start : stretch.edit.end]
                new = [text for text, _ in stretch.edit.out]
                same = sum(1 for _ in takewhile(bool, map(eq, old, new)))
                tail = sum(1 for _ in takewhile(bool, map(eq, reversed(old[same:]), reversed(new[same:]))))
                if stretch.start + same <= line < stretch.end - tail:
                    owners |= stretch.edit.owners
        return owners

    def _set(self, edits: Sequence[Edit]) -> None:
        self.edits = sorted(edits, key=lambda edit: (edit.start, edit.end))
        self._overlay = None

    def _merge(self, piece: Piece, owner: int) -> None:
        lines = self.lines()
        stretches = self._stretches()
        met = [s for s in stretches if s.start < piece.end and piece.start < s.end]
        first, last = met[0], met[-1]
        if first.edit:
            start, low = first.edit.start, first.start
        else:
            start, low = first.origin + piece.start - first.start, piece.start
        if last.edit:
            end, high = last.edit.end, last.end
        else:
            end, high = last.origin + piece.end - last.start, piece.end
        out = [*lines[low : piece.start], *piece.out, *lines[piece.end : high]]
        inside = [edit for edit in self.edits if start <= edit.start and edit.end <= end]
        owners = frozenset([owner]).union(*(edit.owners for edit in inside))
        self._set([*(edit for edit in self.edits if edit not in inside), Edit(start, end, out, owners)])

    def _stretches(self) -> list[_Stretch]:
        stretches, at, origin = [], 0, 0
        for edit in self.edits:
            size = edit.start - origin
            stretches.append(_Stretch(at, at + size, origin, None))
            at += size
            stretches.append(_Stretch(at, at + len(edit.out), edit.start, edit))
            at += len(edit.out)
            origin = edit.end
        stretches.append(_Stretch(at, at + len(self.source.doc) - origin, origin, None))
        return stretches
