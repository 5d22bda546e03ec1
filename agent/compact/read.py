"""Finding results in a text: Python or JSON dicts of scores among notes, headings and chat, cut off or not.

Nothing is evaluated. The reader knows literals only, and a dict that breaks off gives what stands before the break.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from agent.base.syntax import literal

DEEPEST = 60
_LONGEST_TITLE = 60
_SECOND_LOOKS = 1000

_STRING = re.compile(r"""[rbuRBU]{0,2}(?:'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*")""", re.DOTALL)
_NUMBER = re.compile(r"[-+]?(?:\d[\d_]*\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?)")
_NAME = re.compile(r"[-+]?[A-Za-z_][\w.]*")
_SPACE = re.compile(r"\s*")
_START = re.compile(r"\{(?=\s*['\"])")
_NAMED = {
    "None": None,
    "null": None,
    "True": True,
    "true": True,
    "False": False,
    "false": False,
    "nan": float("nan"),
    "NaN": float("nan"),
    "inf": float("inf"),
    "Infinity": float("inf"),
    "-inf": float("-inf"),
    "-Infinity": float("-inf"),
}
_RESULTS_KEY = re.compile(r"\b(training|evaluations?) results\b")


@dataclass(frozen=True)
class Found:
    """One dict of results in a text.

    Attributes:
        line: the line on which it starts, from 1.
        title: what stands before it: the rest of its line, or the last line with text above.
        value: the dict.
        torn: where it breaks off, such as "inside 'core evaluation results'"; empty when it is whole.
    """

    line: int
    title: str
    value: dict[str, Any]
    torn: str = ""


class _Broken(Exception):
    """The text is at its end, or is no literal here."""


class _Reader:
    """Reads one literal; after a break `torn` holds the keys that lead to it."""

    def __init__(self, text: str, position: int) -> None:
        self.text = text
        self.position = position
        self.torn: list[str] | None = None

    def value(self, depth: int = 0) -> Any:
        self._skip()
        character = self.text[self.position : self.position + 1]
        if not character or depth > DEEPEST:
            raise _Broken
        if character == "{":
            return self._dict(depth)
        if character in "[(":
            return self._list("]" if character == "[" else ")", depth)
        found = _STRING.match(self.text, self.position)
        if found is not None:
            self.position = found.end()
            return _unquoted(found.group())
        found = _NUMBER.match(self.text, self.position)
        if found is not None and found.end() == len(self.text):
            raise _Broken  # The end of the text may have cut off further digits.
        if found is not None:
            self.position = found.end()
            return _number(found.group())
        return self._named(depth)

    def _skip(self) -> None:
        found = _SPACE.match(self.text, self.position)
        if found is not None:
            self.position = found.end()

    def _takes(self, character: str) -> bool:
        self._skip()
        if self.text.startswith(character, self.position):
            self.position += 1
            return True
        return False

    def _dict(self, depth: int) -> dict[str, Any]:
        self.position += 1
        found: dict[str, Any] = {}
        key = ""
        try:
            while not self._takes("}"):
                key = str(self.value(depth + 1))
                if not self._takes(":"):
                    raise _Broken
                found[key] = self.value(depth + 1)
                if self.torn is not None:
                    self.torn.insert(0, key)
                    return found
                if not self._takes(",") and not self._at("}"):
                    raise _Broken
        except _Broken:
            self.torn = [key] if key and key not in found else []
        return found

    def _list(self, closing: str, depth: int) -> list[Any]:
        self.position += 1
        found: list[Any] = []
        try:
            while not self._takes(closing):
                found.append(self.value(depth + 1))
                if self.torn is not None:
                    return found
                if not self._takes(",") and not self._at(closing):
                    raise _Broken
        except _Broken:
            self.torn = []
        return found

    def _at(self, character: str) -> bool:
        self._skip()
        return self.text.startswith(character, self.position)

    def _named(self, depth: int) -> Any:
        """A constant, or a call such as `np.float64(0.5)` or `tensor(0.5, device='cuda:0')`: its first argument."""
        found = _NAME.match(self.text, self.position)
        if found is None or found.end() == len(self.text):
            raise _Broken
        name = found.group()
        self.position = found.end()
        if name in _NAMED:
            return _NAMED[name]
        if not self._takes("("):
            raise _Broken
        first: Any = None
        number = 0
        while not self._takes(")"):
            keyword = re.compile(r"\s*[A-Za-z_]\w*\s*=").match(self.text, self.position)
            if keyword is not None:
                self.position = keyword.end()
            argument = self.value(depth + 1)
            if self.torn is not None:
                raise _Broken
            first = argument if number == 0 else first
            number += 1
            if not self._takes(",") and not self._at(")"):
                raise _Broken
        return first


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _unquoted(token: str) -> str:
    try:
        value = literal(token)
    except (ValueError, SyntaxError):
        return token.strip("rbuRBU")[1:-1]
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def find_results(text: str) -> list[Found]:
    """All dicts of results in a text, in order.

    Args:
        text: notes, a chat transcript, or a results file as it is.

    Returns:
        what was found. Other dicts, an idea for example, are passed over.
    """
    found: list[Found] = []
    position, second_looks = 0, 0
    while (start := _START.search(text, position)) is not None:
        reader = _Reader(text, start.start())
        value = reader.value()
        if not looks_like_results(value):
            # A dict may stand whole inside one that breaks; but not every brace of a broken text gets a second look.
            again = reader.torn is not None and second_looks < _SECOND_LOOKS
            second_looks += again
            position = start.start() + 1 if again else max(reader.position, start.start() + 1)
            continue
        torn = "" if reader.torn is None else _place(reader.torn)
        line = text.count("\n", 0, start.start()) + 1
        found.append(Found(line, _title(text, start.start()), value, torn))
        position = max(reader.position, start.start() + 1)
    return found


def looks_like_results(value: Any) -> bool:
    """Tell whether a literal is a dict of results: the old kind, one evaluation's own file, or ours."""
    if not isinstance(value, dict):
        return False
    if "entries" in value and "schema" in value:
        return True
    if "eval_result_metrics" in value or "eval_type_id" in value:
        return True
    return any(isinstance(part, dict) and _RESULTS_KEY.search(key) for key, part in value.items())


def _place(keys: list[str]) -> str:
    return "inside " + " / ".join(repr(key) for key in keys[:2]) if keys else "at its end"


def _title(text: str, start: int) -> str:
    before = text[max(0, start - 2000) : start].split("\n")
    for line in reversed(before):
        title = line.strip().lstrip("#").strip().removeprefix("Results:").strip(" :\t")
        if title:
            return title if len(title) <= _LONGEST_TITLE else title[: _LONGEST_TITLE - 1] + "…"
    return ""
