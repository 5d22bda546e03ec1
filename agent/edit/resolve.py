"""Blocks resolved one after another against the snapshot and the overlay of the earlier ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from agent.edit.editable import EditableFiles
from agent.edit.match import EXACT, Found, Many, Scope, find
from agent.edit.naming import Namer, Target, is_blank, listed
from agent.edit.place import Placement, place, telling, unwrapped
from agent.edit.state import FileState
from agent.edit.text import Doc, Line, read_source
from agent.edit.transplant import Unfit
from agent.edit.types import Block, BlockResult, Split, Status

MISSING = "MISSING"
AMBIGUOUS = "AMBIGUOUS"
OVERLAP = "OVERLAP"
NOT_EDITABLE = "NOT EDITABLE"
NO_FILE = "NO FILE"
NEW_FILE = "new file"

_SAME = "NO CHANGE: SEARCH and REPLACE are the same"
_SCOPES: tuple[Scope, ...] = ("exact", "tolerant")
_SHOWN_PLACES = 20


@dataclass(frozen=True)
class Resolved:
    """A block and what became of it.

    Args:
        block: the block.
        result: what became of it.
        split: the reading that was taken, where the block changes something.
        twin: the earlier block with the same text, where there is one.
    """

    block: Block
    result: BlockResult
    split: Split | None = None
    twin: Block | None = None


class _Refused(Exception):
    def __init__(self, reason: str, path: str = "", lines: Sequence[int] = ()) -> None:
        super().__init__(reason)
        self.path = path
        self.lines = list(lines)


class _Superseded(Exception):
    """A new block has the SEARCH of a pending one: the pending one is dropped and resolving starts over."""

    def __init__(self, pending: Block) -> None:
        super().__init__()
        self.pending = pending


class Resolver:
    """Resolves the blocks of one reply, pending ones first, over immutable snapshots of the files.

    Args:
        workspace: the files and which of them may change.
    """

    def __init__(self, workspace: EditableFiles) -> None:
        self.workspace = workspace
        self._reset()

    def _reset(self) -> None:
        self.states: dict[str, FileState] = {}
        self.resolved: list[Resolved] = []
        self._namer = Namer(self.workspace)

    def run(self, blocks: Sequence[Block]) -> list[Resolved]:
        """Resolve the blocks in order.

        Args:
            blocks: pending blocks, then those of the reply.

        Returns:
            One entry a block, in the same order. A pending block whose SEARCH a new block repeats is left out.
        """
        todo = list(blocks)
        while True:
            try:
                self._run(todo)
                return self.resolved
            except _Superseded as superseded:
                todo.remove(superseded.pending)
                self._reset()

    def _run(self, blocks: Sequence[Block]) -> None:
        for block in blocks:
            try:
                self.resolved.append(self._resolve(block))
            except _Refused as refused:
                result = BlockResult(block.index, refused.path, "rejected", "", str(refused), refused.lines)
                self.resolved.append(Resolved(block, result))

    def state(self, path: str) -> FileState:
        """The file's state, read on first use."""
        if path not in self.states:
            self.states[path] = FileState(path, read_source(self.workspace.read(path)))
        return self.states[path]

    def known(self, path: str) -> bool:
        """Tell whether a file is there, or a block before makes it."""
        if path in self.states:
            return self.states[path].exists
        if path.startswith(("/", "~")) or ".." in path.split("/"):
            return False
        try:
            return (self.workspace.root / path).is_file()
        except (OSError, ValueError):
            return False

    def _resolve(self, block: Block) -> Resolved:
        target = self._namer.target(block, self.known)
        clear = target.paths[0] if len(target.paths) == 1 else ""
        if block.fault:
            raise _Refused(block.fault, clear)
        if target.vague:
            raise _Refused(f"{NO_FILE}: the name can mean {listed(target.paths)}; give the whole path")
        if not clear:
            return self._among(block, target.paths)
        self._check_file(block, clear, target)
        return self._in_file(block, clear)

    def _check_file(self, block: Block, path: str, target: Target) -> None:
        if path.startswith(("/", "..")):
            raise _Refused(f"{NOT_EDITABLE}: {path[-200:]} lies outside the workspace", path)
        makes = any(is_blank(split.search) for split in block.splits)
        if not self.known(path) and not makes:
            near = f"; did you mean {listed(target.near)}?" if target.near else ""
            raise _Refused(f"{NO_FILE}: there is no file {path}{near}", path)
        if makes and not self.workspace.can_hold(path):
            raise _Refused(f"{NO_FILE}: {path} is a folder, or lies in a file", path)
        if not self.workspace.may_edit(path):
            files = self.workspace.editable_files()
            may = listed(files) if files else "no file"
            raise _Refused(f"{NOT_EDITABLE}: {path} may not be changed; {may} may", path)

    def _among(self, block: Block, paths: Sequence[str]) -> Resolved:
        """A block under no clear name: taken only where its SEARCH stands exactly once in exactly one file."""
        no_name = f"{NO_FILE}: no file name stands on the line above the block"
        if not paths:
            raise _Refused(no_name)
        fits = [path for path in paths if self.workspace.may_edit(path) and self._exact_splits(block, path)]
        if len(fits) != 1:
            where = f"its SEARCH stands in {' and '.join(fits)}" if fits else f"it may be for {listed(paths)}"
            raise _Refused(f"{no_name}, and {where}")
        self._namer.settle(fits[0])
        return self._in_file(block, fits[0])

    def _in_file(self, block: Block, path: str) -> Resolved:
        state = self.state(path)
        twin = self._twin(block, path)
        if twin:
            done = self._done(block, path, "already", reason=f"the same as {called(twin.block)}")
            return replace(done, twin=twin.block)
        split = self._choose(block, state)
        if not split.search or (is_blank(split.search) and not _written(state)):
            return self._fill(block, state, split)
        try:
            return self._placed(block, state, split)
        except Unfit as unfit:
            raise _Refused(str(unfit), path) from None
        except _Refused as refused:
            bare = unwrapped(split)
            if bare is None or not str(refused).startswith(MISSING):
                raise
            return self._placed(block, state, bare)

    def _twin(self, block: Block, path: str) -> Resolved | None:
        """An earlier block with the same text for the same file."""
        for earlier in self.resolved:
            if not earlier.split or earlier.result.path != path or earlier.result.status != "applied":
                continue
            for split in block.splits:
                if split.search == earlier.split.search:
                    if split.replace == earlier.split.replace:
                        return earlier
                    if earlier.block.pending and not block.pending and split.search:
                        raise _Superseded(earlier.block)
        return None

    def _choose(self, block: Block, state: FileState) -> Split:
        """The one reading of a block whose text holds divider lines: the one whose SEARCH stands exactly once.

        A SEARCH that holds a heading starts with the shorter ones, which then stand at the same place. The longest is
        meant: for a shorter one REPLACE would by chance go on as the file does, divider and all.
        """
        if len(block.splits) == 1:
            return block.splits[0]
        exact = self._exact_splits(block, state.path)
        if exact:
            return max(exact, key=lambda split: (not split.drops, len(split.search)))
        plausible = [split for split in block.splits if split.plausible]
        if len(plausible) == 1:
            return plausible[0]
        done = [split for split in block.splits if telling(split.replace) and _once(state.overlay, split.replace)]
        if len(done) == 1:
            return done[0]
        count = f"DIVIDER: its text holds {len(block.splits)} divider lines"
        raise _Refused(f"{count}, and SEARCH stands exactly once in {state.path} with none of them", state.path)

    def _exact_splits(self, block: Block, path: str) -> list[Split]:
        state = self.state(path)
        docs = [state.source.doc, state.overlay] if state.edits else [state.source.doc]
        fits = []
        for split in block.splits:
            if any(_once(doc, split.search) for doc in docs) or not (split.search or _written(state)):
                fits.append(split)
        return fits

    def _fill(self, block: Block, state: FileState, split: Split) -> Resolved:
        """An empty SEARCH: the text of a new file, or of an empty one."""
        new = list(split.replace)
        if state.exists and state.overlay.lines == new:
            status: Status = "already" if new else "no_change"
            return self._done(block, state.path, status, reason="" if new else _SAME)
        if _written(state):
            why = f"{state.path} has {len(state.overlay)} lines; copy the line beside which the text goes into SEARCH"
            raise _Refused(f"EMPTY SEARCH: {why}", state.path)
        out: list[Line] = [(line, None) for line in new]
        state.rewrite(out, len(self.resolved))
        return self._done(block, state.path, "applied", NEW_FILE, (1, max(1, len(state.source.doc))), split=split)

    def _placed(self, block: Block, state: FileState, split: Split) -> Resolved:
        same = split.search == split.replace
        for scope in _SCOPES:
            placement = place(state.source.doc, split, scope)
            over = place(state.overlay, split, scope) if placement is None and state.edits else None
            hit = placement or over
            if hit is None:
                continue
            if isinstance(hit, Many):
                if same:
                    return self._done(block, state.path, "no_change", hit.tier, _shown(hit), _SAME)
                raise self._ambiguous(state, hit, over is not None)
            start, end = hit.span
            doc = state.source.doc if over is None else state.overlay
            if same or all([text for text, _ in p.out] == doc.lines[p.start : p.end] for p in hit.pieces):
                reason = _SAME if same else "NO CHANGE: the file already reads as REPLACE does"
                return self._done(block, state.path, "no_change", hit.tier, (start + 1, end), reason)
            if over is None:
                self._check_overlap(block, state, hit)
                state.take(hit, len(self.resolved))
            else:
                state.take_over(hit, len(self.resolved))
            return self._done(block, state.path, "applied", hit.tier, (start + 1, end), split=split)
        there = find(state.overlay, split.replace, "exact") if telling(split.replace) and not same else None
        if isinstance(there, Found):
            return self._done(block, state.path, "already", EXACT, (there.start + 1, there.end))
        raise _Refused(f"{MISSING}: the SEARCH text is not in {state.path}", state.path)

    def _check_overlap(self, block: Block, state: FileState, placement: Placement) -> None:
        clash = sorted(state.clash(placement))
        if not clash:
            return
        tail = f"change the same lines of {state.path}: send one block with both changes"
        for owner in clash:
            other = self.resolved[owner]
            result = replace(other.result, status="rejected", reason=f"{OVERLAP}: it and {called(block)} {tail}")
            self.resolved[owner] = replace(other, result=result)
        names = " and ".join(called(self.resolved[owner].block) for owner in clash)
        first, last = placement.span
        raise _Refused(f"{OVERLAP}: it and {names} {tail}", state.path, (first + 1, last))

    def _ambiguous(self, state: FileState, many: Many, overlaid: bool) -> _Refused:
        shown = _shown(many)
        lines = ", ".join(map(str, shown)) + (" …" if len(many.starts) > len(shown) else "")
        how = "" if many.tier == EXACT else f" (compared by {many.tier})"
        after = " once the earlier blocks are applied" if overlaid else ""
        why = f"SEARCH stands at {len(many.starts)} places in {state.path}{after}, lines {lines}{how}"
        return _Refused(f"{AMBIGUOUS}: {why}; add lines above or below it", state.path, shown)

    @staticmethod
    def _done(
        block: Block,
        path: str,
        status: Status,
        tier: str = "",
        lines: Sequence[int] = (),
        reason: str = "",
        split: Split | None = None,
    ) -> Resolved:
        if split and split.drops and not reason:
            reason = "the divider before the closing marker was dropped"
        return Resolved(block, BlockResult(block.index, path, status, tier, reason, list(lines)), split)


def called(block: Block) -> str:
    """A block as feedback names it."""
    return f"pending block {block.index}" if block.pending else f"block {block.index}"


def _shown(many: Many) -> list[int]:
    return [start + 1 for start in many.starts[:_SHOWN_PLACES]]


def _written(state: FileState) -> bool:
    return not is_blank(state.overlay.lines)


def _once(doc: Doc, lines: Sequence[str]) -> bool:
    return bool(lines) and isinstance(find(doc, lines, "exact"), Found)
