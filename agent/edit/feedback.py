"""Feedback to the model: per failed block the reason and the place, within fixed sizes."""

from __future__ import annotations

from collections.abc import Sequence

from agent.edit.match import find
from agent.edit.resolve import MISSING, Resolved, Resolver, called
from agent.edit.suggest import Suggestion, nearest
from agent.edit.text import Doc
from agent.edit.types import Block

BLOCK_CHARS = 2000
TURN_CHARS = 6000
_LEAST_CHARS = 160
_LINE_CHARS = 160
_REGION_LINES = 14
_NOTES_CHARS = 600
_PENDING_CHARS = 700


def refusal(
    resolver: Resolver,
    resolved: Sequence[Resolved],
    lint: Sequence[str],
    notes: Sequence[str],
    pending: Sequence[Block],
) -> str:
    """The text for a reply of which nothing was written.

    Args:
        resolver: holds the files as they are.
        resolved: every block and its result.
        lint: errors that the edit would add.
        notes: remarks.
        pending: blocks that need not be sent again.

    Returns:
        At most 6,000 characters, of which at most 2,000 are about one block.
    """
    failed = [entry for entry in resolved if entry.result.status == "rejected" and entry.result.code != "PENDING"]
    total = len(resolved)
    head = f"Nothing was written: {len(failed)} of {total} block{'s' * (total != 1)} failed."
    ends = [_pending_text(pending), _idle_text(resolved), _notes_text(notes)]
    end = "\n\n".join(text for text in ends if text)
    if lint:
        head += "\n\n" + clip("The edit would add these errors:\n" + "\n".join(f"- {clip(e, 300)}" for e in lint), 1500)
    room = TURN_CHARS - len(head) - len(end) - 120
    parts = [head]
    for number, entry in enumerate(failed):
        share = min(BLOCK_CHARS, max(_LEAST_CHARS, room // (len(failed) - number)))
        if room < _LEAST_CHARS:
            left = ", ".join(str(other.block.index) for other in failed[number:][:40])
            parts.append(clip(f"{len(failed) - number} more failed blocks are not shown: {left}", room + 60))
            break
        text = clip(_failed(resolver, entry, total, share), share)
        parts.append(text)
        room -= len(text) + 2
    if end:
        parts.append(end)
    return clip("\n\n".join(parts), TURN_CHARS)


def remarks(resolved: Sequence[Resolved], notes: Sequence[str], changed: Sequence[str]) -> str:
    """The text for a reply that was not refused; empty when there is nothing to say."""
    parts = [_idle_text(resolved), _notes_text(notes)]
    if not resolved:
        parts.insert(0, "Nothing was written: the reply has no SEARCH/REPLACE block.")
    elif not changed:
        parts.insert(0, "Nothing was written: the files already are as the blocks ask.")
    return clip("\n\n".join(part for part in parts if part), TURN_CHARS)


def clip(text: str, most: int) -> str:
    """The text, cut with an ellipsis where it is longer than ``most`` characters."""
    return text if len(text) <= most else text[: max(0, most - 1)] + "…"


def _failed(resolver: Resolver, entry: Resolved, total: int, room: int) -> str:
    result, block = entry.result, entry.block
    path = f", {result.path[-200:]}" if result.path else ""
    which = called(block) if block.pending else f"block {block.index} of {_own_total(resolver, total)}"
    head = clip(f"{which[0].upper()}{which[1:]}{path}: nothing was written. {result.reason}.", room)
    if result.code != MISSING or not result.path:
        return head
    search = list(block.splits[0].search)
    detail = _elsewhere(resolver, result.path, search) + _nearest_text(resolver, result.path, search, room - len(head))
    return head + detail


def _own_total(resolver: Resolver, total: int) -> int:
    return total - sum(entry.block.pending for entry in resolver.resolved)


def _elsewhere(resolver: Resolver, path: str, search: Sequence[str]) -> str:
    for other in resolver.workspace.editable_files():
        if other != path and find(resolver.state(other).source.doc, search, "exact"):
            return f"\nIt stands in {other}: if that file was meant, name it on the line above the block."
    return ""


def _nearest_text(resolver: Resolver, path: str, search: Sequence[str], room: int) -> str:
    doc = resolver.state(path).overlay
    within = _within_line(doc, search)
    if within:
        return within
    found = nearest(doc, search)
    if found is None:
        return f"\nNothing in its {len(doc)} lines is like it: copy the lines from the file as it is now."
    text = f"\nNearest: lines {found.start + 1} to {found.end}, {min(found.likeness, 0.99):.0%} alike."
    if found.search_line is not None:
        text += "\n" + _difference(doc, found, search)
    region = _region(doc, found, search, room - len(text) - 2)
    return text + (f"\n{region}" if region else "")


def _within_line(doc: Doc, search: Sequence[str]) -> str:
    words = [line.strip() for line in search if line.strip()]
    if len(words) != 1 or len(words[0]) < 4:
        return ""
    at = [number for number, line in enumerate(doc.lines) if words[0] in line]
    if not at:
        return ""
    shown = _around(doc.lines[at[0]], doc.lines[at[0]].index(words[0]))
    return f"\nIt is a part of line {at[0] + 1}: {shown}\nSEARCH must hold whole lines."


def _difference(doc: Doc, found: Suggestion, search: Sequence[str]) -> str:
    number = found.search_line or 0
    expected = search[number]
    place = found.start + number
    if place >= len(doc):
        return f"First difference: SEARCH line {number + 1} has {_around(expected, 0)}; the file ends before it."
    actual = doc.lines[place]
    at = divergence(expected, actual)
    column = f", from column {at + 1}" if at else ""
    return (
        f"First difference: SEARCH line {number + 1}, file line {place + 1}{column}\n"
        f"  SEARCH: {_around(expected, at)}\n"
        f"  file:   {_around(actual, at)}"
    )


def _region(doc: Doc, found: Suggestion, search: Sequence[str], room: int) -> str:
    """The lines of the file, numbered, around the first difference, as many as there is room for."""
    middle = found.start + (found.search_line or 0)
    first = max(found.start, middle - 3)
    lines = []
    for number in range(first, min(found.end, first + _REGION_LINES)):
        wanted = search[number - found.start] if number - found.start < len(search) else ""
        row = f"{number + 1:>5}| {_excerpt(doc.lines[number], divergence(wanted, doc.lines[number]))}"
        room -= len(row) + 1
        if room < 0:
            break
        lines.append(row)
    return "\n".join(lines)


def divergence(a: str, b: str) -> int:
    """The first position at which two texts differ; the shorter length when one starts with the other."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _excerpt(line: str, at: int) -> str:
    """A line as it is, or where it is long the part around a position."""
    if len(line) <= _LINE_CHARS:
        return line
    start = max(0, min(at - _LINE_CHARS // 2, len(line) - _LINE_CHARS))
    before, after = "…" if start else "", "…" if start + _LINE_CHARS < len(line) else ""
    return f"{before}{line[start : start + _LINE_CHARS]}{after} ({len(line)} characters)"


def _around(line: str, at: int) -> str:
    """The same with blanks and unusual characters made visible."""
    if len(line) <= _LINE_CHARS:
        return repr(line)[: 3 * _LINE_CHARS]
    start = max(0, min(at - _LINE_CHARS // 2, len(line) - _LINE_CHARS))
    before, after = "…" if start else "", "…" if start + _LINE_CHARS < len(line) else ""
    return f"{before}{repr(line[start : start + _LINE_CHARS])[: 3 * _LINE_CHARS]}{after} ({len(line)} characters)"


def _pending_text(pending: Sequence[Block]) -> str:
    if not pending:
        return ""
    names = [f"block {block.index} ({block.path[-80:]}: {clip(_first_line(block), 60)})" for block in pending]
    text = "Pending, need not be sent again: " + "; ".join(names) + "."
    if len(text) > _PENDING_CHARS:
        numbers = ", ".join(str(block.index) for block in pending[:60])
        more = ", …" if len(pending) > 60 else ""
        text = f"Pending, need not be sent again: {len(pending)} blocks ({numbers}{more})."
    return text + " A failed block that you leave out is dropped."


def _first_line(block: Block) -> str:
    split = block.splits[0]
    return next((line.strip() for line in (*split.search, *split.replace) if line.strip()), "empty")


def _idle_text(resolved: Sequence[Resolved]) -> str:
    idle = [entry for entry in resolved if entry.result.status in ("already", "no_change")]
    rows = []
    for entry in idle[:8]:
        what = "ALREADY THERE: nothing to do" if entry.result.status == "already" else entry.result.reason
        rows.append(f"Block {entry.block.index}, {entry.result.path[-100:]}: {what}.")
    if len(idle) > 8:
        rows.append(f"{len(idle) - 8} more blocks change nothing.")
    return "\n".join(rows)


def _notes_text(notes: Sequence[str]) -> str:
    return clip("\n".join(clip(note, 200) for note in notes), _NOTES_CHARS)
