"""The small vocabulary of the edit engine: blocks, their results, and the outcome of a reply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Status = Literal["applied", "already", "no_change", "rejected"]
Failure = Literal["", "format", "lint", "length"]


@dataclass(frozen=True)
class Split:
    """One way to read a block: what to look for and what to put there.

    Args:
        search: the lines of SEARCH, without line ends.
        replace: the lines of REPLACE, without line ends.
        drops: a divider line before the closing marker was left out of ``replace``.
        plausible: the divider has the size and the indent of the opening marker.
    """

    search: tuple[str, ...]
    replace: tuple[str, ...]
    drops: bool = False
    plausible: bool = True


@dataclass(frozen=True)
class Block:
    """One SEARCH/REPLACE block as it stands in a reply, or a piece of one.

    Args:
        index: which block of its reply, from 1.
        line: its first line in the reply, from 1.
        splits: its possible readings; more than one when a divider line stands in its text.
        path: the file, once it is known (a pending block always has it).
        names: lines above it that may name the file, nearest first.
        fault: why it cannot be used whatever the files hold; empty for a sound block.
        pending: it was kept from a refused reply.
        owed: how many blocks of that reply failed and are to be sent again.
    """

    index: int
    line: int
    splits: tuple[Split, ...] = ()
    path: str = ""
    names: tuple[str, ...] = ()
    fault: str = ""
    pending: bool = False
    owed: int = 0

    def settled(self, path: str, split: Split) -> Block:
        """The same block with its file and its reading fixed, ready to be pending."""
        fixed = Split(split.search, split.replace)
        return replace(self, path=path, splits=(fixed,), names=(), pending=True)

    def to_json(self) -> dict[str, Any]:
        """The block as plain JSON values; :meth:`from_json` is the inverse for a pending block."""
        split = self.splits[0]
        return {
            "index": self.index,
            "line": self.line,
            "path": self.path,
            "search": list(split.search),
            "replace": list(split.replace),
            "owed": self.owed,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Block:
        """A pending block from :meth:`to_json`.

        Raises:
            KeyError: a field is missing.
        """
        split = Split(tuple(data["search"]), tuple(data["replace"]))
        path, owed = str(data["path"]), int(data.get("owed", 0))
        return cls(int(data["index"]), int(data["line"]), (split,), path, pending=True, owed=owed)


@dataclass(frozen=True)
class BlockResult:
    """The outcome of one block.

    Args:
        index: which block of its reply, from 1.
        path: the file, relative to the root; empty when none is known.
        status: applied, already (its REPLACE stood there), no_change, or rejected.
        tier: how its SEARCH was matched; empty when it was not.
        reason: for a rejected block an upper-case code, a colon and the explanation; a remark or nothing otherwise.
        lines: first and last line of the matched span; for an ambiguous block the first line of each place.
    """

    index: int
    path: str
    status: Status
    tier: str = ""
    reason: str = ""
    lines: list[int] = field(default_factory=list)

    @property
    def code(self) -> str:
        """The reason's upper-case code, for example ``MISSING``."""
        return self.reason.partition(":")[0]

    def to_json(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        return {
            "index": self.index,
            "path": self.path,
            "status": self.status,
            "tier": self.tier,
            "reason": self.reason,
            "lines": list(self.lines),
        }


@dataclass(frozen=True)
class Outcome:
    """The outcome of a whole reply.

    Args:
        applied: everything asked for stands in the files (in a dry run: would stand).
        blocks: one result for each block seen, pending ones first.
        lint: errors that the edit would add, one line each.
        feedback: text for the model; empty when there is nothing to say.
        changed: paths written (in a dry run: that would be written).
        pending: the good blocks of a refused reply, or of a dry run, to be given to the next call.
        notes: what was seen and not acted on, for example shell commands.
        failure: which budget a refusal counts against; empty when nothing was refused.
        tail: the unfinished end of a reply that was cut off inside a block.
    """

    applied: bool
    blocks: list[BlockResult]
    lint: list[str]
    feedback: str
    changed: list[str]
    pending: list[Block]
    notes: list[str] = field(default_factory=list)
    failure: Failure = ""
    tail: str = ""

    @property
    def cut_off(self) -> bool:
        """The reply ended inside a block."""
        return self.failure == "length"

    def to_json(self) -> dict[str, Any]:
        """The outcome as the command line prints it."""
        return {
            "applied": self.applied,
            "blocks": [block.to_json() for block in self.blocks],
            "lint": list(self.lint),
            "feedback": self.feedback,
            "changed": list(self.changed),
            "notes": list(self.notes),
        }
