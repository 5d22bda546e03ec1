"""The corpus: cases in text files, and the file bytes and expectations that they describe.

A line that starts with ``@@`` opens a section; what follows, up to the next such line, is its text:

- ``@@ case NAME`` starts a case; ``@@ note`` is a remark.
- ``@@ before PATH [crlf|cr|mixed|bom|utf16|latin1|cp1252|nonl]`` is a file as it is; ``nonl``: no final newline.
- ``@@ reply [crlf|nonl]`` is the model's reply; a second one is its answer to the feedback, with the pending blocks.
- ``@@ after PATH [flags]`` is the file that should come out; flags default to those of ``before``.
- ``@@ expect CODE`` says that the reply is to be refused with that reason; ``already`` and ``no_change`` are statuses.
- ``@@ options lint policy editable=GLOB``: ``lint`` turns the gate on; ``policy`` marks a case where another choice
  could be defended, so that it is not held against a peer.

In a text ``⟦27000*ab⟧`` repeats, ``⟦sp⟧`` is a blank at the end of a line, ``⟦tab⟧`` a tab, ``⟦U+00A0⟧`` a character.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_HEADER = re.compile(r"^@@ (case|note|before|reply|after|expect|options)\b ?(.*)$")
_MACRO = re.compile(r"⟦(?:(\d+)\*([^⟧]*)|(sp|tab)|U\+([0-9A-F]{4,6}))⟧")
_FLAGS = {"crlf", "cr", "mixed", "bom", "utf16", "latin1", "cp1252", "nonl"}


@dataclass
class Case:
    """One case.

    Args:
        name: unique in the corpus.
        group: the name of its file.
        replies: the model's replies in order.
        before: bytes of the files, by path.
        after: bytes of the files that should differ afterwards, by path.
        expect: the code of the reason for which it is to be refused, or a status; empty when it is to be applied.
        lint: the gate is on.
        policy: another outcome could be defended.
        editable: globs of the files that may change.
    """

    name: str
    group: str
    replies: list[str] = field(default_factory=list)
    before: dict[str, bytes] = field(default_factory=dict)
    after: dict[str, bytes] = field(default_factory=dict)
    expect: str = ""
    lint: bool = False
    policy: bool = False
    editable: list[str] = field(default_factory=list)

    @property
    def expected_files(self) -> dict[str, bytes]:
        """All files as they should be afterwards."""
        return {**self.before, **self.after}


def load_cases(folder: Path) -> list[Case]:
    """All cases of a folder, in the order of file and place.

    Args:
        folder: holds ``*.txt`` files in the format above.

    Raises:
        ValueError: a file breaks the format; the message names it.
    """
    cases = [case for file in sorted(folder.glob("*.txt")) for case in _read(file)]
    names = [case.name for case in cases]
    doubled = {name for name in names if names.count(name) > 1}
    if doubled:
        raise ValueError(f"two cases are called {sorted(doubled)[0]!r}")
    return cases


def _read(file: Path) -> Iterator[Case]:
    case: Case | None = None
    flags: dict[str, list[str]] = {}
    for kind, rest, lines in _sections(file):
        if kind == "case":
            if case:
                yield _checked(case, file)
            case, flags = Case(rest, file.stem), {}
        elif case is None:
            raise ValueError(f"{file.name}: {kind} before the first case")
        elif kind in ("before", "after"):
            path, *given = rest.split()
            if set(given) - _FLAGS:
                raise ValueError(f"{file.name}: {case.name}: unknown flag in {rest!r}")
            if kind == "before":
                flags[path] = given
            target = case.before if kind == "before" else case.after
            target[path] = _bytes(lines, given or flags.get(path, []))
        elif kind == "reply":
            case.replies.append(_bytes(lines, rest.split()).decode("utf-8"))
        elif kind == "expect":
            case.expect = rest.strip()
        elif kind == "options":
            _set_options(case, rest.split())
    if case:
        yield _checked(case, file)


def _sections(file: Path) -> Iterator[tuple[str, str, list[str]]]:
    kind, rest, lines = "", "", []
    for line in file.read_text(encoding="utf-8").split("\n"):
        header = _HEADER.match(line)
        if not header:
            lines.append(line)
            continue
        if kind:
            yield kind, rest, lines
        kind, rest, lines = header[1], header[2].strip(), []
    if kind:
        yield kind, rest, lines[:-1] if lines and not lines[-1] else lines


def _bytes(lines: Sequence[str], flags: Sequence[str]) -> bytes:
    """The text of a section as bytes; one blank line before the next section is layout, not text."""
    if lines and not lines[-1]:
        lines = lines[:-1]
    texts = [_MACRO.sub(_expand, line) for line in lines]
    if "mixed" in flags:
        text = "".join(line + ("\r\n" if number % 2 else "\n") for number, line in enumerate(texts))
    else:
        end = "\r\n" if "crlf" in flags else "\r" if "cr" in flags else "\n"
        text = "".join(line + end for line in texts)
    if "nonl" in flags:
        text = text.rstrip("\r\n")
    if "utf16" in flags:
        return text.encode("utf-16")
    encoding = "latin-1" if "latin1" in flags else "cp1252" if "cp1252" in flags else "utf-8"
    return (b"\xef\xbb\xbf" if "bom" in flags else b"") + text.encode(encoding)


def _expand(found: re.Match[str]) -> str:
    count, text, word, point = found.groups()
    if count:
        return text * int(count)
    return {"sp": " ", "tab": "\t"}[word] if word else chr(int(point, 16))


def _set_options(case: Case, words: Sequence[str]) -> None:
    for word in words:
        if word.startswith("editable="):
            case.editable.append(word.removeprefix("editable="))
        elif word in ("lint", "policy"):
            setattr(case, word, True)
        else:
            raise ValueError(f"{case.name}: unknown option {word!r}")


def _checked(case: Case, file: Path) -> Case:
    if not case.replies or bool(case.after) == bool(case.expect):
        raise ValueError(f"{file.name}: {case.name}: needs a reply, and either files after it or what to expect")
    return case
