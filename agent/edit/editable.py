"""Which file a block means, and whether it may change."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from posixpath import normpath

_SKIPPED = {"__pycache__", "node_modules"}
_MOST_FILES = 50_000
_EXTENSIONS = re.compile(
    r"py|pyi|txt|md|rst|jsonl?|toml|ya?ml|tex|bib|sty|cfg|ini|sh|csv|tsv|ipynb|html|css|jsx?|tsx?|xml|svg|j2|cc?|cpp|hp?p?"
    r"|cu|rs|go|java|kt|rb|r|jl|lua|sql|mk|cmake|env|conf|log|lock|gitignore",
    re.IGNORECASE,
)
_SUFFIX = re.compile(r"[A-Za-z]\w{0,9}")
_AROUND = " \t*`\"'#:()[]{}<>,;!-|=→•"
_LABEL = re.compile(r"^(?:file(?:\s?name|\s?path)?|path)\s*[:=]\s*", re.IGNORECASE)
_NUMBER = re.compile(r"^\d+[.)]\s+")
_WORD = re.compile(r"[\w./\\~@+-]*[\w~@+]")


@dataclass(frozen=True)
class Named:
    """A name as a reply gives it, and the files it can mean.

    Args:
        name: the name, cleaned.
        paths: files of the workspace, relative to the root: one when it is clear.
        exists: ``paths`` are files; otherwise ``paths`` holds the one name of a file that is not there.
        near: names that it may have been meant for.
    """

    name: str
    paths: tuple[str, ...] = ()
    exists: bool = True
    near: tuple[str, ...] = ()


class EditableFiles:
    """The files under a root, of which some may be edited.

    Args:
        root: the folder.
        editable: glob patterns relative to it; ``*`` stays within a folder, ``**`` crosses folders.
    """

    def __init__(self, root: Path, editable: Sequence[str]) -> None:
        self.root = root.resolve()
        self.editable = tuple(pattern.removeprefix("./") for pattern in editable)
        self._allowed = [re.compile(glob_pattern(pattern)) for pattern in self.editable]

    def may_edit(self, path: str) -> bool:
        """Tell whether a file, and the file it is a link to, is declared editable and lies under the root."""
        real = (self.root / path).resolve()
        if not real.is_relative_to(self.root):
            return False
        return self._matches(path) and self._matches(real.relative_to(self.root).as_posix())

    def can_hold(self, path: str) -> bool:
        """Tell whether a file is there or could be made: no folder has its name, no file that of a folder above it."""
        target = self.root / path
        above = [folder for folder in target.parents if folder != self.root and folder.is_relative_to(self.root)]
        return not target.is_dir() and not any(folder.is_file() for folder in above)

    def editable_files(self) -> list[str]:
        """The editable files that are there, by name."""
        plain = [pattern for pattern in self.editable if not re.search(r"[*?\[]", pattern)]
        if len(plain) == len(self.editable):
            return sorted({path for path in plain if (self.root / path).is_file()})
        return [path for path in self.files if self.may_edit(path)]

    def read(self, path: str) -> bytes | None:
        """A file's bytes, or None when there is no such file."""
        file = self.root / path
        return file.read_bytes() if file.is_file() else None

    def strong_name(self, line: str, known: Callable[[str], bool], *, makes: bool = False) -> str:
        """The file name that a line consists of, or nothing.

        Args:
            line: a line above a block, or a word after its fence.
            known: whether a path exists or will exist.
            makes: the block can only make a file, so any suffix will do; else a word that is no file and has no slash
                must end as files commonly do (``Trainer.loss`` is a heading).
        """
        name = clean_name(line)
        if not name or "://" in name or len(name) > 250:
            return ""
        if known(name):
            return name
        if not _WORD.fullmatch(name):
            return ""
        suffix = PurePosixPath(name).suffix[1:]
        return name if "/" in name or _EXTENSIONS.fullmatch(suffix) or (makes and _SUFFIX.fullmatch(suffix)) else ""

    def mentions(self, line: str, known: Callable[[str], bool]) -> list[str]:
        """The existing files that a line of prose names."""
        words = dict.fromkeys(word.replace("\\", "/") for word in _WORD.findall(line) if "." in word or "/" in word)
        return [word.removeprefix("./") for word in words if len(word) < 256 and known(word.removeprefix("./"))]

    def resolve(self, name: str, known: Callable[[str], bool]) -> Named:
        """The file that a name means: exact, else the unique file whose path ends with it.

        Args:
            name: from :meth:`strong_name`.
            known: whether a path exists or will exist.
        """
        path = name
        if name.startswith("/"):
            real = Path(name)
            path = real.relative_to(self.root).as_posix() if real.is_relative_to(self.root) else name
        path = normpath(path)
        if path.startswith(("/", "..")):
            return Named(name, (path,), exists=False)
        if known(path):
            return Named(name, (path,))
        ends = tuple(file for file in self.files if file.endswith("/" + path))
        if ends:
            return Named(name, ends)
        from difflib import get_close_matches

        base = PurePosixPath(path).name
        same = [file for file in self.files if PurePosixPath(file).name.casefold() == base.casefold()]
        near = same or get_close_matches(path, self.files, 3, 0.6) or self.editable_files()
        return Named(name, (path,), exists=False, near=tuple(near[:5]))

    @cached_property
    def files(self) -> list[str]:
        """All files under the root but hidden folders' ones."""
        return sorted(self._walk())

    def _walk(self) -> Iterator[str]:
        seen = 0
        for folder, folders, names in os.walk(self.root):
            folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED)
            base = Path(folder).relative_to(self.root)
            for name in names:
                yield (base / name).as_posix()
                seen += 1
                if seen == _MOST_FILES:
                    return

    def _matches(self, path: str) -> bool:
        if PurePosixPath(path).parts[:1] == (".git",):
            return False
        return any(pattern.fullmatch(path) for pattern in self._allowed)


def clean_name(line: str) -> str:
    """A line without the decoration that models put around a file name: headings, quotes, list marks, comments."""
    text = line.strip()
    text = text.removeprefix("<!--").removesuffix("-->").removeprefix("//").removeprefix("/*").removesuffix("*/")
    text = _NUMBER.sub("", text.strip(_AROUND)).strip(_AROUND)
    text = _LABEL.sub("", text).strip(_AROUND).rstrip(_AROUND + ".")
    return text.replace("\\", "/").removeprefix("./")


def glob_pattern(pattern: str) -> str:
    """A glob as a regular expression for the whole path."""
    out = []
    for part in re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]/]+\])", pattern):
        if part == "**/":
            out.append(r"(?:.*/)?")
        elif part == "**":
            out.append(r".*")
        elif part == "*":
            out.append(r"[^/]*")
        elif part == "?":
            out.append(r"[^/]")
        elif part.startswith("[") and part.endswith("]"):
            out.append("[" + part[1:-1].replace("!", "^", 1).replace("\\", r"\\") + "]")
        else:
            out.append(re.escape(part))
    return "".join(out)
