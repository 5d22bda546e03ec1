"""A reply applied to the files of a workspace: all of it or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from agent.base.errors import AgentError
from agent.edit.blocks import CUT_OFF, Parsed, parse, remarks
from agent.edit.editable import EditableFiles
from agent.edit.resolve import Resolved, Resolver, called
from agent.edit.types import Block, BlockResult, Failure, Outcome

if TYPE_CHECKING:
    from agent.edit.gate import Fault
    from agent.edit.store import Change

_AT_LIMIT = f"{CUT_OFF}: the reply ended at the token limit; send what is missing"
_NO_BLOCK = "NO BLOCK: the reply has no SEARCH/REPLACE block, and failed blocks of the one before are to be mended"


def apply_reply(
    reply: str,
    root: Path,
    editable: Sequence[str],
    *,
    lint: bool = True,
    dry_run: bool = False,
    pending: Sequence[Block] = (),
    cut_off: bool = False,
) -> Outcome:
    """Apply the SEARCH/REPLACE blocks of a reply, together with blocks pending from a refused one, or change nothing.

    Every file is read once; all blocks are placed in these snapshots, or in what the earlier blocks make of them.
    Pending blocks are placed again, so a file that changed meanwhile is noticed.

    Args:
        reply: the model's text.
        root: the folder of the workspace.
        editable: glob patterns, relative to ``root``, of the files that may change; ``*`` stays within a folder.
        lint: refuse an edit that adds fatal flake8 errors, or breaks a file of another known format.
        dry_run: say what would happen and write nothing; ``applied`` and ``changed`` then say what would be.
        pending: ``pending`` of the outcome before.
        cut_off: the reply ended at the token limit. Nothing is written then; its whole blocks are pending.

    Returns:
        What became of every block, and the text for the model. Each block is applied, already applied, without change,
        or rejected with a reason.

    Raises:
        AgentError: the root is no folder, flake8 cannot be run, or a file cannot be read or written.
    """
    if not root.is_dir():
        raise AgentError(f"there is no folder {root}")
    turn = _Turn(EditableFiles(root, editable), pending, cut_off)
    try:
        turn.resolve(reply)
        if turn.refused:
            return turn.refusal()
        if lint and turn.check():
            return turn.refusal()
    except OSError as error:
        raise AgentError(f"cannot read {error.filename or 'a file'}: {error.strerror}") from error
    if not dry_run:
        from agent.edit.store import write_all

        write_all(turn.workspace.root, turn.changes)
    return turn.success(dry_run)


class _Turn:
    """One reply on its way through parsing, placing, the gate and the disk."""

    def __init__(self, workspace: EditableFiles, pending: Sequence[Block], cut_off: bool) -> None:
        self.workspace = workspace
        self.pending = [replace(block, pending=True) for block in pending]
        self.cut_off = cut_off
        self.resolver = Resolver(workspace)
        self.parsed = Parsed()
        self.resolved: list[Resolved] = []
        self.changes: dict[str, Change] = {}
        self.notes: list[str] = []
        self.lint: list[str] = []

    @property
    def refused(self) -> bool:
        """Some block was rejected."""
        return any(entry.result.status == "rejected" for entry in self.resolved)

    def resolve(self, reply: str) -> None:
        """Parse the reply and place its blocks after the pending ones."""
        self.parsed = parse(reply)
        named = [self._names_editable(fence.names) for fence in self.parsed.fences]
        faults, self.notes = remarks(self.parsed, named)
        blocks = sorted([*self.parsed.blocks, *faults], key=lambda block: block.line)
        blocks = [replace(block, index=number) for number, block in enumerate(blocks, 1)]
        blocks += self._lacking(blocks)
        self.resolved = self.resolver.run([*self.pending, *blocks])
        accounted = [entry.block.line for entry in self.resolved if not entry.block.pending]
        if accounted != [block.line for block in blocks]:
            raise AssertionError("a block was lost")
        replaced = len(self.pending) + len(blocks) - len(self.resolved)
        if replaced:
            self.notes.append(f"{replaced} pending block(s) gave way to new ones with the same SEARCH.")
        if not self.refused:
            self._encode()

    def _lacking(self, blocks: Sequence[Block]) -> list[Block]:
        """The fault of the reply as a whole, as a block with no place."""
        number, line = len(blocks) + 1, self.parsed.tail_line + 1
        if self.cut_off and not any(block.fault.startswith(CUT_OFF) for block in blocks):
            return [Block(number, line, fault=_AT_LIMIT)]
        owed = self._owed
        if not blocks and owed:
            return [Block(number, line, fault=_NO_BLOCK)]
        if len(blocks) < owed:
            self.notes.append(f"{owed - len(blocks)} failed block(s) of the reply before were not sent again: dropped.")
        return []

    @property
    def _owed(self) -> int:
        """The number of blocks of the reply before that failed and are awaited."""
        return max((block.owed for block in self.pending), default=0)

    def _names_editable(self, names: Sequence[str]) -> bool:
        for line in names:
            name = self.workspace.strong_name(line, self.resolver.known)
            if name:
                return self.workspace.may_edit(self.workspace.resolve(name, self.resolver.known).paths[0])
        return False

    def _encode(self) -> None:
        """The new bytes of every file that changes."""
        from agent.edit.store import Change

        for path, state in self.resolver.states.items():
            if not state.edits:
                continue
            try:
                after = state.encode()
            except UnicodeEncodeError as error:
                char = ascii(error.object[error.start])
                self._reject(path, f"ENCODING: {path} is {state.source.encoding}, which has no {char}", char)
                continue
            if after != state.source.raw:
                self.changes[path] = Change(state.source.raw, after)

    def _reject(self, path: str, reason: str, char: str) -> None:
        """Reject the blocks that bring in a character, or all blocks of the file."""
        mine = [number for number, entry in enumerate(self.resolved) if entry.result.path == path and entry.split]
        guilty = [n for n in mine if (split := self.resolved[n].split) and char[1:-1] in ascii("".join(split.replace))]
        for number in guilty or mine:
            self._mark(number, reason)

    def _mark(self, number: int, reason: str) -> None:
        entry = self.resolved[number]
        self.resolved[number] = replace(entry, result=replace(entry.result, status="rejected", reason=reason))

    def check(self) -> bool:
        """Run the gate; True when the edit adds errors."""
        if not self.changes:
            return False
        from agent.edit.gate import added_faults

        faults = added_faults(self.changes, lambda path, line: bool(self._owners(path, line)))
        self.lint = [str(fault) for fault in faults]
        for path in {fault.path for fault in faults}:
            self._blame(path, [fault for fault in faults if fault.path == path])
        return bool(faults)

    def _owners(self, path: str, line: int) -> set[int]:
        """The blocks that wrote a line (from 1) of a file's new text."""
        return self.resolver.state(path).writers(line - 1)

    def _blame(self, path: str, faults: Sequence[Fault]) -> None:
        """Reject the blocks that wrote the lines at fault, or all blocks of the file where none did."""
        mine = {n for n, entry in enumerate(self.resolved) if entry.result.path == path and entry.split}
        owners = [self._owners(path, fault.line) & mine or mine for fault in faults]
        for number in sorted(mine):
            own = [fault for fault, blamed in zip(faults, owners) if number in blamed]
            if own:
                what = "; ".join(f"line {fault.line}: {fault.code} {fault.text[:200]}" for fault in own[:5])
                self._mark(number, f"LINT: the new text would have an error it has not now, {what}")

    def refusal(self) -> Outcome:
        """The outcome when nothing is written: what is good is pending."""
        from agent.edit import feedback

        good = [n for n, entry in enumerate(self.resolved) if entry.result.status == "applied"]
        failed = [entry for entry in self.resolved if entry.result.status == "rejected"]
        owed = len([entry for entry in failed if entry.block.fault not in (_AT_LIMIT, _NO_BLOCK)])
        if any(entry.block.fault == _NO_BLOCK for entry in failed):
            owed = max(owed, self._owed)
        settled: dict[int, Block] = {}
        while True:
            settled = {n: self._settled(n, owed) for n in good}
            again = Resolver(self.workspace).run(list(settled.values()))
            lost = [n for n, entry in zip(settled, again) if entry.result.status != "applied"]
            if not lost:
                break
            for number in lost:
                self._mark(number, "MISSING: it builds on a block that failed; send it again with that one")
            good = [n for n in good if n not in lost]
            owed += len(lost)
        for number in good:
            self._mark(number, "PENDING: it is good, and waits for the failed blocks; it need not be sent again")
        for number, entry in enumerate(self.resolved):
            if entry.twin:
                self._mark(number, f"PENDING: it is the same as {called(entry.twin)} and shares its fate")
        pending = list(settled.values())
        text = feedback.refusal(self.resolver, self.resolved, self.lint, self.notes, pending)
        return self._outcome(False, text, [], pending)

    def success(self, dry_run: bool) -> Outcome:
        """The outcome when nothing was rejected."""
        from agent.edit import feedback

        applied = any(entry.result.status in ("applied", "already") for entry in self.resolved)
        changed = sorted(self.changes)
        good = [n for n, entry in enumerate(self.resolved) if entry.result.status == "applied"]
        pending = [self._settled(n, 0) for n in good] if dry_run else []
        return self._outcome(applied, feedback.remarks(self.resolved, self.notes, changed), changed, pending)

    def _settled(self, number: int, owed: int) -> Block:
        entry = self.resolved[number]
        if entry.split is None:
            raise AssertionError("an applied block has no text")
        return replace(entry.block.settled(entry.result.path, entry.split), owed=owed)

    def _outcome(self, applied: bool, text: str, changed: list[str], pending: list[Block]) -> Outcome:
        results: list[BlockResult] = [entry.result for entry in self.resolved]
        codes = {result.code for result in results if result.status == "rejected"}
        failure: Failure = "" if applied else "format"
        if CUT_OFF in codes:
            failure = "length"
        elif "LINT" in codes:
            failure = "lint"
        return Outcome(applied, results, self.lint, text, changed, pending, self.notes, failure, self.parsed.tail)
