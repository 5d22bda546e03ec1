"""A reply taken apart into SEARCH/REPLACE blocks by a state machine that loses nothing.

Every opening marker becomes one block, sound or faulty; a marker outside a block and code without a block become faulty
blocks too, so that the blocks of a reply always account for all of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from agent.edit.text import split_lines
from agent.edit.types import Block, Split

CUT_OFF = "CUT OFF"
UNCLOSED = "UNCLOSED"
STRAY = "STRAY MARKER"
NO_DIVIDER = "NO DIVIDER"
BARE_CODE = "CODE WITHOUT BLOCK"

_HEAD = re.compile(r"^([ \t]*)(<{5,9})[ \t]*SEARCH\b(?:\W*|[ \t:>]+(\S+)[ \t]*)$", re.IGNORECASE)
_CLOSE = re.compile(r"^([ \t]*)(>{5,9})[ \t]*REPLACE\b\W*$", re.IGNORECASE)
_DIVIDER = re.compile(r"^([ \t]*)(={5,9})[ \t]*$")
_LOOKALIKE = re.compile(
    r"^[ \t]*(?:[<>]{5,}[ \t]*[\w./-]{0,60}|[<>]{4,}[ \t]*(?:SEARCH|REPLACE|ORIGINAL|UPDATED)\b.{0,60})[ \t]*$"
)
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([^`]*?)[ \t]*$")
_HUNK = re.compile(r"^@@ -\d+(?:,\d+)? \+\d+(?:,\d+)? @@")
_FILE_NAME = re.compile(r"^[ \t]*[\w./\\-]+\.\w+[ \t]*$")
_SHELLS = {"bash", "sh", "shell", "console", "zsh", "fish", "powershell", "ps1", "cmd", "bat", "terminal"}
_PROSE = {"text", "txt", "plaintext", "md", "markdown", "csv", "log", "output", "math", "latex", "mermaid"}
_LOOK_BACK = 3


@dataclass(frozen=True)
class Fence:
    """A fenced piece of code that holds no block.

    Args:
        line: its opening line in the reply, from 1.
        language: the word after the fence, in lower case.
        names: lines above it (and the words after the fence) that may name a file.
    """

    line: int
    language: str
    names: tuple[str, ...]


@dataclass
class Parsed:
    """A reply taken apart.

    Args:
        blocks: what was found, in order, faulty ones too.
        fences: code with no block in it, in order.
        dividers: lines (from 1) of dividers outside of blocks that underline no text.
        tail: from the first line that belongs to an unfinished last block; empty when the reply is whole.
        tail_line: the tail's first line, from 0; the number of lines when there is no tail.
    """

    blocks: list[Block] = field(default_factory=list)
    fences: list[Fence] = field(default_factory=list)
    dividers: list[int] = field(default_factory=list)
    tail: str = ""
    tail_line: int = 0


@dataclass(frozen=True)
class _Mark:
    kind: str
    indent: str
    size: int
    name: str = ""


def parse(reply: str) -> Parsed:
    """Take a reply apart.

    Args:
        reply: the model's text, any line ends, whole or cut off.

    Returns:
        Its blocks and what else deserves a remark. Never raises: a broken block is a block with a fault.
    """
    return _Parser(reply).run()


class _Parser:
    def __init__(self, reply: str) -> None:
        self.lines = split_lines(reply.removeprefix("\ufeff"))[0]
        self.marks = {number: mark for number, line in enumerate(self.lines) if (mark := _mark(line))}
        self.parsed = Parsed(tail_line=len(self.lines))
        self.barrier = 0
        self.fence: tuple[int, str, str] | None = None
        self.fence_used = False

    def run(self) -> Parsed:
        number = 0
        while number < len(self.lines):
            mark = self.marks.get(number)
            if mark and mark.kind == "head":
                number = self._block(number, mark)
            elif mark and mark.kind == "close":
                number = self._stray(number)
            else:
                self._outside(number)
                number += 1
        self._end_fence(len(self.lines))
        return self.parsed

    def _add(self, number: int, splits: tuple[Split, ...] = (), names: tuple[str, ...] = (), fault: str = "") -> None:
        index = len(self.parsed.blocks) + 1
        self.parsed.blocks.append(Block(index, number + 1, splits, names=names, fault=fault))

    def _block(self, start: int, head: _Mark) -> int:
        """Read the block that opens here; returns the number of the line after it."""
        self.fence_used = True
        names = self._names(start, head.name)
        end, closed, hidden = self._find_end(start, head.size)
        if closed:
            splits = self._splits(start, end, head, hidden)
            fault = "" if splits else f'{NO_DIVIDER}: the block has no "=======" line between SEARCH and REPLACE'
            self._add(start, splits, names, fault)
            end += 1
        elif end == len(self.lines):
            self._add(start, (), names, f"{CUT_OFF}: the reply ended before the line {_closing(head)!r}")
            self._set_tail(start)
        else:
            self._add(start, (), names, f"{UNCLOSED}: no line {_closing(head)!r} before the next block opens")
        self.barrier = end
        return end

    def _find_end(self, start: int, size: int) -> tuple[int, bool, set[int]]:
        """Where the block that opens at ``start`` ends.

        Returns:
            The line of its closing marker, or the line at which it breaks off; whether it is closed; and the lines that
            belong to whole blocks of another marker size quoted inside it.
        """
        inner: list[tuple[int, int]] = []
        hidden: set[int] = set()
        first_inner = len(self.lines)
        divided = False
        for number in range(start + 1, len(self.lines)):
            mark = self.marks.get(number)
            if mark is None:
                continue
            if mark.kind == "head":
                if mark.size == size:
                    return min(number, first_inner), False, hidden
                inner.append((number, mark.size))
                first_inner = min(first_inner, number)
            elif mark.kind == "divider":
                divided = divided or not inner
            elif inner:
                if inner[-1][1] != mark.size:
                    return first_inner, False, hidden
                hidden.update(range(inner.pop()[0], number + 1))
            elif divided or (mark.size == size and not hidden):
                return number, True, hidden
            elif mark.size == size:
                return first_inner, False, hidden
        return first_inner, False, hidden

    def _splits(self, start: int, end: int, head: _Mark, hidden: set[int]) -> tuple[Split, ...]:
        body = self.lines[start + 1 : end]
        dividers = [
            number - start - 1
            for number in range(start + 1, end)
            if number not in hidden and number in self.marks and self.marks[number].kind == "divider"
        ]
        doubled = len(dividers) > 1 and dividers[-1] == len(body) - 1
        splits = []
        for at in dividers:
            mark = self.marks[start + 1 + at]
            search, rest = body[:at], body[at + 1 :]
            # A heading underlined at the end of SEARCH is underlined at the end of REPLACE too: keep that line.
            drops = doubled and bool(rest) and not (search and _DIVIDER.match(search[-1]))
            if drops:
                rest.pop()
            plausible = mark.size == head.size and mark.indent == head.indent and not (doubled and not drops)
            splits.append(Split(tuple(search), tuple(rest), drops, plausible or len(dividers) == 1))
        return tuple(splits)

    def _stray(self, number: int) -> int:
        line = self.lines[number].strip()
        self._add(number, fault=f"{STRAY}: {line[:40]!r} at line {number + 1} of the reply belongs to no block")
        self.fence_used = True
        self.barrier = number + 1
        return number + 1

    def _outside(self, number: int) -> None:
        line = self.lines[number]
        start = line.lstrip()[:1]
        if start and start in "`~":
            self._fence_line(number, line)
        elif number in self.marks and not (number > self.barrier and self.lines[number - 1].strip()):
            self.parsed.dividers.append(number + 1)
        elif start and start in "<>" and _LOOKALIKE.match(line):
            last = number == len(self.lines) - 1 and line.lstrip().startswith("<")
            if last and re.match(r"[ \t]*<+[ \t]*S?E?A?R?C?H?[ \t]*$", line):
                self._add(number, (), self._names(number, ""), f"{CUT_OFF}: the reply ended in a block's first line")
                self._set_tail(number)
            else:
                self._stray(number)
        elif start == "@" and _HUNK.match(line) and not (self.fence and self.fence[2].startswith("diff")):
            self._add(number, (), self._names(number, ""), f"{BARE_CODE}: a diff is not a SEARCH/REPLACE block")

    def _fence_line(self, number: int, line: str) -> None:
        found = _FENCE.match(line)
        if not found:
            return
        ticks, info = found.groups()
        if self.fence and not info and ticks.startswith(self.fence[1]):
            # A fence around nothing but a file name belongs to the block below it.
            if number == self.fence[0] + 2 and _FILE_NAME.match(self.lines[number - 1]):
                self.fence = None
                return
            self._end_fence(number)
            self.barrier = number + 1
            return
        self._end_fence(number)
        self.fence, self.fence_used = (number, ticks, info.lower()), False

    def _end_fence(self, number: int) -> None:
        if self.fence and not self.fence_used and number > self.fence[0] + 1:
            start, _, info = self.fence
            language, _, rest = info.partition(" ")
            self.parsed.fences.append(Fence(start + 1, language, self._names(start, rest)))
        self.fence, self.fence_used = None, False

    def _names(self, number: int, inline: str) -> tuple[str, ...]:
        """Lines that may name the file of what starts at ``number``, nearest first."""
        names = [inline] if inline else []
        at, seen = number - 1, 0
        while at >= self.barrier and seen < _LOOK_BACK:
            line = self.lines[at].strip()
            fence = _FENCE.match(line)
            if fence:
                words = re.sub(r"[{}=\"':,]", " ", fence.group(2)).split()
                names.extend(word for word in words if "." in word or "/" in word)
            elif line and at not in self.marks:
                names.append(line)
                seen += 1
            at -= 1
        return tuple(name[:300] for name in names)

    def _set_tail(self, number: int) -> None:
        """Remember the unfinished block with the fence and the name above it."""
        at = number
        while at > self.barrier and at > number - _LOOK_BACK and self.lines[at - 1].strip():
            at -= 1
        self.parsed.tail_line = at
        self.parsed.tail = "\n".join(self.lines[at:])


def _mark(line: str) -> _Mark | None:
    start = line.lstrip()[:5]
    if start == "<<<<<" and (found := _HEAD.match(line)):
        return _Mark("head", found[1], len(found[2]), found[3] or "")
    if start == ">>>>>" and (found := _CLOSE.match(line)):
        return _Mark("close", found[1], len(found[2]))
    if start == "=====" and (found := _DIVIDER.match(line)):
        return _Mark("divider", found[1], len(found[2]))
    return None


def _closing(head: _Mark) -> str:
    return ">" * head.size + " REPLACE"


def remarks(parsed: Parsed, named: Sequence[bool]) -> tuple[list[Block], list[str]]:
    """Sort the code without a block into faults and remarks.

    Shell commands and samples beside real blocks are only remarked on. Code under the name of an editable file, and any
    code in a reply with no block at all, was meant as an edit: it becomes a faulty block.

    Args:
        parsed: the reply.
        named: for each fence, whether the lines above it name an editable file.

    Returns:
        The faulty blocks to add, and remarks.
    """
    faults: list[Block] = []
    notes = [f"A divider at line {line} of the reply belongs to no block." for line in parsed.dividers]
    for fence, under_name in zip(parsed.fences, named):
        where = f"the code at line {fence.line} of the reply"
        if not under_name and fence.language in _SHELLS:
            notes.append(f"Shell commands are ignored: {where} was not run.")
        elif under_name or not (parsed.blocks or fence.language in _PROSE):
            index = len(parsed.blocks) + len(faults) + 1
            fault = f"{BARE_CODE}: {where} is not in a SEARCH/REPLACE block, so it cannot be placed"
            faults.append(Block(index, fence.line, names=fence.names, fault=fault))
        else:
            notes.append(f"Not applied: {where} is in no SEARCH/REPLACE block.")
    return faults, notes
