"""Cases from the replies of a real transcript, each against a file built around its SEARCH text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from bench.edit.cases import Case

_BLOCK = re.compile(r"^<{5,9} SEARCH\n(.*?)^={5,9}\n(.*?)^>{5,9} REPLACE", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"^([\w./-]+\.\w+)$", re.MULTILINE)
_TURN_END = re.compile(r"^> Tokens: .*$", re.MULTILINE)
_LAST_DIVIDER = re.compile(r"^={5,9}\n\Z", re.MULTILINE)


def real_cases(transcript: Path) -> list[Case]:
    """One case for each reply with blocks in a transcript of aider's kind.

    The file of each reply is made of its SEARCH texts, in order, between lines that stand nowhere else. The blocks are
    read with one regular expression, so that the engine is not measured against itself; the replies have no block that
    this reads wrongly.

    Args:
        transcript: the chat history.
    """
    cases = []
    for number, reply in enumerate(_replies(transcript.read_text(encoding="utf-8")), 1):
        before: dict[str, str] = {}
        after: dict[str, str] = {}
        name, end = "experiment.py", 0
        for count, block in enumerate(_BLOCK.finditer(reply)):
            names = _NAME.findall(reply, end, block.start())
            name, end = (names[-1] if names else name), block.end()
            filler = "".join(f"# line {line} before block {count} of {name}\n" for line in range(40))
            before[name] = before.get(name, "") + filler + block[1]
            after[name] = after.get(name, "") + filler + _LAST_DIVIDER.sub("", block[2])
        if before:
            case = Case(f"{transcript.stem} reply {number}", "real", [reply])
            case.before = {path: (text + "# end\n").encode() for path, text in before.items()}
            case.after = {path: (text + "# end\n").encode() for path, text in after.items()}
            cases.append(case)
    return cases


def _replies(text: str) -> Iterator[str]:
    """The model's words between the user's lines (they start with ``####``) and the line of costs."""
    start = 0
    for end in _TURN_END.finditer(text):
        lines = text[start : end.start()].split("\n")
        last = max((number for number, line in enumerate(lines) if line.startswith(("#### ", "> "))), default=-1)
        yield "\n".join(lines[last + 1 :]).strip("\n") + "\n"
        start = end.end()
