"""From the lines above a block to the file that it is for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.edit.editable import EditableFiles, Named
from agent.edit.types import Block


@dataclass(frozen=True)
class Target:
    """The files a block may be for.

    Args:
        paths: one when it is clear, none when nothing names it.
        near: names that a missing file may have been meant for.
        vague: ``paths`` are several files that the name fits, none better than another.
    """

    paths: tuple[str, ...] = ()
    near: tuple[str, ...] = ()
    vague: bool = False


class Namer:
    """Finds the file of each block of a reply in turn; a block without a name goes with the block before it.

    Args:
        workspace: the files.
    """

    def __init__(self, workspace: EditableFiles) -> None:
        self._workspace = workspace
        self._carried = ""

    def target(self, block: Block, known: Callable[[str], bool]) -> Target:
        """The file, or the files, that a block may be for.

        Args:
            block: the block.
            known: whether a path exists, or an earlier block of the reply makes it.
        """
        target = self._target(block, known)
        if len(target.paths) == 1:
            self._carried = target.paths[0]
        elif target.vague:
            self._carried = ""
        return target

    def settle(self, path: str) -> None:
        """Tell which of several files the last block turned out to be for."""
        self._carried = path

    def _target(self, block: Block, known: Callable[[str], bool]) -> Target:
        if block.path:
            return Target((block.path,))
        makes = bool(block.splits) and all(is_blank(split.search) for split in block.splits)
        mentioned: list[str] = []
        for line in block.names:
            name = self._workspace.strong_name(line, known, makes=makes)
            if name:
                if makes and not known(name) and self._workspace.may_edit(name):
                    return Target((name,))
                return _named(self._workspace.resolve(name, known), mentioned)
            mentioned = mentioned or self._workspace.mentions(line, known)
        # A mention in prose is a weaker sign than a line that is only a name, so the file before stays possible.
        paths = tuple(dict.fromkeys([*mentioned, *([self._carried] if self._carried else [])]))
        return Target(paths or tuple(self._workspace.editable_files()))


def _named(named: Named, mentioned: Sequence[str]) -> Target:
    """The target of a line that is only a name; prose between it and the block may mention another file."""
    others = tuple(path for path in mentioned if path not in named.paths)
    if others and named.exists and len(named.paths) == 1:
        return Target((*named.paths, *others))
    return Target(named.paths, named.near, vague=len(named.paths) > 1)


def is_blank(lines: Sequence[str]) -> bool:
    """No line holds more than white space."""
    return not any(line.strip() for line in lines)


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names in a sentence: ``a, b or c``."""
    shown = [name[-120:] for name in names[:most]]
    if len(names) > most:
        return ", ".join(shown) + f" or {len(names) - most} more"
    return " or ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
