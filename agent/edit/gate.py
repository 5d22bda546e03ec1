"""The gate of an edit: no new fatal flake8 errors in Python, and other formats by their own parsers.

Only errors that the edit adds count. An error is the same before and after when its code, its text and its line (white
space aside) are; one that merely moved, or stood there already, is not held against the edit.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from agent.base.errors import AgentError
from agent.edit.store import Change
from agent.edit.text import read_source

SELECTED = "E9,F821,F823,F831,F406,F407,F63,F7"
_TIMEOUT_SECONDS = 120
_ROW = re.compile(r"^(\d+)\t(\d+)\t(\d+)\t(\w+)\t(.*)$")
_ON_LINE = re.compile(r"\bon line \d+")


@dataclass(frozen=True)
class Fault:
    """One error in a file.

    Args:
        path: the file, relative to the root.
        line: from 1; 0 when the checker gives none.
        column: from 1.
        code: flake8's code, or the format's name.
        text: the checker's words.
        source: the line's text.
    """

    path: str
    line: int
    column: int
    code: str
    text: str
    source: str

    @property
    def key(self) -> tuple[str, str, str, str]:
        """The part of it that stays the same elsewhere in the file."""
        return self.path, self.code, _ON_LINE.sub("on line", self.text), " ".join(self.source.split())

    @property
    def kind(self) -> tuple[str, str, str]:
        """Code and text alone."""
        return self.path, self.code, self.text

    def __str__(self) -> str:
        source = " ".join(self.source.split())
        shown = source if len(source) <= 120 else source[:117] + "…"
        return f"{self.path}:{self.line}:{self.column}: {self.code} {self.text}" + (f" | {shown}" if shown else "")


def added_faults(changes: Mapping[str, Change], touched: Callable[[str, int], bool]) -> list[Fault]:
    """The errors that stand in the new files and not in the old ones.

    Args:
        changes: contents before and after, by path.
        touched: whether a line (from 1) of a new file was written by the edit.

    Raises:
        AgentError: flake8 cannot be run.
    """
    python = {path: change for path, change in changes.items() if path.endswith((".py", ".pyi"))}
    added = _added_python(python, touched) if python else []
    for path, change in changes.items():
        parse = _PARSERS.get(PurePosixPath(path).suffix.lower())
        if parse is None:
            continue
        fault = _parse_fault(path, change.after, parse)
        if fault and (change.before is None or not _parse_fault(path, change.before, parse)):
            added.append(fault)
    return added


def _added_python(changes: Mapping[str, Change], touched: Callable[[str, int], bool]) -> list[Fault]:
    before = [(path, change.before) for path, change in changes.items() if change.before is not None]
    after = [(path, change.after) for path, change in changes.items()]
    faults = _flake8([*before, *after])
    old = [fault for batch in faults[: len(before)] for fault in batch]
    new = [fault for batch in faults[len(before) :] for fault in batch]
    unreadable = {fault.path for fault in old if fault.code.startswith("E9")}
    known, kinds = Counter(fault.key for fault in old), Counter(fault.kind for fault in old)
    kinds.subtract(Counter(fault.kind for fault in new))
    added = []
    for fault in new:
        known[fault.key] -= 1
        if known[fault.key] >= 0:
            continue
        # A file that did not parse hides its other errors: they count only where the edit wrote.
        if fault.path in unreadable and not touched(fault.path, fault.line):
            continue
        # A line that was edited and kept its old error: no such error more than before.
        if not fault.code.startswith("E9") and kinds[fault.kind] >= 0:
            continue
        added.append(fault)
    return added


def _flake8(files: list[tuple[str, bytes]]) -> list[list[Fault]]:
    """The fatal errors of each content, by one run of flake8 in an empty folder and without anybody's settings."""
    with tempfile.TemporaryDirectory(prefix="edit-gate-") as name:
        folder = Path(name)
        for number, (path, content) in enumerate(files):
            (folder / f"{number}{PurePosixPath(path).suffix}").write_bytes(content)
        command = [sys.executable, "-P", "-m", "flake8", "--isolated", "--select", SELECTED, "--disable-noqa"]
        command += ["--jobs", "1", "--format", "%(path)s\t%(row)d\t%(col)d\t%(code)s\t%(text)s", "."]
        command += ["--filename", "*.py,*.pyi"]
        try:
            ran = subprocess.run(command, cwd=folder, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise AgentError(f"flake8 took over {_TIMEOUT_SECONDS} s; look at the size of the edited files") from None
    found: list[list[Fault]] = [[] for _ in files]
    lines = [read_source(content).doc.lines for _, content in files]
    for row in ran.stdout.decode("utf-8", "replace").splitlines():
        match = _ROW.match(re.sub(r"^(?:\./)?(\d+)\.pyi?\t", r"\1\t", row))
        if match:
            number, line, column = int(match[1]), int(match[2]), int(match[3])
            source = lines[number][line - 1] if 0 < line <= len(lines[number]) else ""
            found[number].append(Fault(files[number][0], line, column, match[4], match[5], source))
    if ran.returncode not in (0, 1) or (ran.returncode == 1 and not any(found)):
        last = (ran.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"])[-1]
        raise AgentError(f"flake8 cannot be run ({last[:200]}); install it with: pip install flake8")
    return found


def _parse_fault(path: str, content: bytes, parse: Callable[[bytes], None]) -> Fault | None:
    name = PurePosixPath(path).suffix.removeprefix(".").upper()
    try:
        parse(content)
    except _Broken as broken:
        lines = read_source(content).doc.lines
        source = lines[broken.line - 1] if 0 < broken.line <= len(lines) else ""
        return Fault(path, broken.line, broken.column, name, str(broken), source)
    except RecursionError:
        return Fault(path, 0, 0, name, "nested too deeply", "")
    return None


class _Broken(Exception):
    def __init__(self, text: object, line: int = 0, column: int = 0) -> None:
        super().__init__(" ".join(str(text).split())[:300])
        self.line = line
        self.column = column


def _text(content: bytes) -> str:
    source = read_source(content)
    return content.removeprefix(source.bom).decode(source.encoding, "replace")


def _json(content: bytes) -> None:
    try:
        json.loads(_text(content))
    except json.JSONDecodeError as error:
        raise _Broken(error.msg, error.lineno, error.colno) from None


def _json_lines(content: bytes) -> None:
    for number, line in enumerate(_text(content).split("\n"), 1):
        if line.strip():
            try:
                json.loads(line)
            except json.JSONDecodeError as error:
                raise _Broken(error.msg, number, error.colno) from None


def _toml(content: bytes) -> None:
    import tomllib

    try:
        tomllib.loads(_text(content))
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"line (\d+), column (\d+)", str(error))
        line, column = (int(place[1]), int(place[2])) if place else (0, 0)
        raise _Broken(error, line, column) from None


def _yaml(content: bytes) -> None:
    try:
        import yaml
    except ImportError:
        return
    try:
        for _ in yaml.parse(_text(content), Loader=yaml.SafeLoader):
            pass
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise _Broken(error.problem, mark.line + 1 if mark else 0, mark.column + 1 if mark else 0) from None
    except yaml.YAMLError as error:
        raise _Broken(error) from None


def _ini(content: bytes) -> None:
    import configparser

    try:
        configparser.ConfigParser(interpolation=None).read_string(_text(content))
    except configparser.Error as error:
        raise _Broken(error, getattr(error, "lineno", 0) or 0) from None


def _xml(content: bytes) -> None:
    from xml.parsers import expat

    try:
        expat.ParserCreate().Parse(content, True)
    except expat.ExpatError as error:
        raise _Broken(error, error.lineno, error.offset + 1) from None


def _jinja(content: bytes) -> None:
    try:
        import jinja2
    except ImportError:
        return
    try:
        jinja2.Environment(extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"]).parse(_text(content))
    except jinja2.TemplateSyntaxError as error:
        raise _Broken(error.message, error.lineno) from None


_PARSERS: dict[str, Callable[[bytes], None]] = {
    ".json": _json,
    ".ipynb": _json,
    ".jsonl": _json_lines,
    ".toml": _toml,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".ini": _ini,
    ".xml": _xml,
    ".svg": _xml,
    ".j2": _jinja,
}
