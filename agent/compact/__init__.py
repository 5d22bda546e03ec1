"""Results in short: what matters of a results file, ours or the old kind, and what in it cannot be trusted."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.base.errors import AgentError
from agent.compact.check import problems_between, problems_of
from agent.compact.forms import EXPECTED, Results, plain, result_of
from agent.compact.read import find_results

__all__ = ["LONGEST", "compact_file", "compact_results", "compact_text"]

LONGEST = 1500
_LONGEST_SETTINGS = 320
_ARROWS = {"higher": "↑", "lower": "↓", None: "~"}
_LEGEND = "scores (↑ higher is better, ↓ lower is better, ~ neither):"
_TYPED = re.compile(r"\b([a-z][a-z0-9_]*)\s*[=:]\s*(-?\d+\.\d{7,})")
_RUN_HEADING = re.compile(r"^#+\s*(Run \d+)\b", re.MULTILINE)


def compact_results(
    results: Mapping[str, Any],
    training: Mapping[str, Any] | None = None,
    *,
    title: str = "",
    longest: int = LONGEST,
) -> str:
    """The compact form of one SAE's results.

    Args:
        results: our `results.json` as a dict, or a dict of SAEBench results.
        training: our `training.json` as a dict, for the settings; may be missing.
        title: a heading; none when empty.
        longest: the most characters to use.

    Returns:
        settings, every headline metric with its direction, and what looks stale or mismatched.
    """
    result = result_of(results, training, title=title)
    return _render(result, problems_of(result), longest)


def compact_text(text: str, *, longest: int = LONGEST) -> str:
    """The compact form of every dict of results in a text; empty when there is none.

    Args:
        text: a results file, notes, or a chat transcript.
        longest: the most characters for each dict.
    """
    results: list[Results] = []
    for number, found in enumerate(find_results(text), start=1):
        result = result_of(found.value, title=f"result {number}, line {found.line}: {found.title}".rstrip(": "))
        result.torn = found.torn
        results.append(result)
    typed = _typed_again(text, results)
    return _render_all(results, typed, longest)


def compact_file(path: Path, *, longest: int = LONGEST) -> str:
    """The compact form of a results file, or of all runs in a folder.

    Args:
        path: a file with results, a run's folder (with `results.json`), or a folder of runs.
        longest: the most characters for each dict.

    Raises:
        AgentError: when there is no such file, it cannot be read, or no results are in it.
    """
    try:
        shown = _compact_folder(path, longest) if path.is_dir() else _compact_one(path, longest)
    except OSError as error:
        raise AgentError(f"cannot read {path}: {error.strerror}") from error
    if not shown:
        raise AgentError(
            f"no results in {path}: expected a dict of scores, or a folder with results.json in it or below"
        )
    return shown


def _compact_one(path: Path, longest: int) -> str:
    text = path.read_bytes().decode("utf-8", "replace")
    ours = _ours(text)
    if ours is None:
        return compact_text(text, longest=longest)
    return compact_results(ours, _training_beside(path), title=path.parent.name or path.name, longest=longest)


def _compact_folder(folder: Path, longest: int) -> str:
    results: list[Results] = []
    for path in sorted(folder.rglob("results.json"), key=_in_order):
        ours = _ours(path.read_text(encoding="utf-8", errors="replace"))
        if ours is None:
            raise AgentError(f"{path} is not a results file of ours, or is cut off: score the run again")
        name = path.parent.relative_to(folder).as_posix()
        title = f"result {len(results) + 1}: {folder.name if name == '.' else name}"
        results.append(result_of(ours, _training_beside(path), title=title))
    return _render_all(results, [], longest)


def _in_order(path: Path) -> list[tuple[int, str]]:
    """Paths with run_10 after run_9."""
    return [(int(piece), "") if piece.isdigit() else (0, piece) for piece in re.split(r"(\d+)", path.as_posix())]


def _ours(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) and "entries" in value else None


def _training_beside(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads((path.parent / "training.json").read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _render_all(results: Sequence[Results], typed: list[str], longest: int) -> str:
    between = problems_between(results)
    blocks = []
    for number, result in enumerate(results):
        # The gravest first: another SAE's part or a stale one, then what only makes a comparison unfair.
        own = problems_of(result)
        stale = [line for line in between[number] if " looks stale" in line]
        rest = [line for line in between[number] if line not in stale]
        last = typed if number == len(results) - 1 else []
        # One character less, for the empty line between two blocks.
        blocks.append(_render(result, [*stale, *own, *last, *rest], longest - 1))
    return "\n\n".join(blocks)


def _render(result: Results, problems: Sequence[str], longest: int) -> str:
    lines = [result.title] if result.title else []
    if result.settings:
        lines.append(_settings_line(result.settings))
    lines.append(_LEGEND)
    for name, part in result.parts.items():
        scores = [
            f"{score.name} {plain(score.value)} {_ARROWS[score.better]}"
            + (f" ({score.remark})" if score.remark else "")
            for score in part.scores
        ]
        remark = f" [{part.remark}]" if part.remark else ""
        lines.append(f"  {name}: {', '.join(scores) or 'no scores'}{remark}")
    known = set(result.parts) & set(EXPECTED)
    absent = (
        [name for name in EXPECTED if name not in result.parts] if known and "weights" not in result.identity else []
    )
    if absent:
        lines.append(f"  absent: {', '.join(absent)}")
    lines.append("check:" if problems else "check: nothing looks stale or mismatched")
    return _fitted(lines, [f"  ! {problem}" for problem in problems], longest)


def _settings_line(settings: Mapping[str, Any]) -> str:
    line = "settings: " + ", ".join(f"{name} {plain(item)}" for name, item in settings.items())
    return line if len(line) <= _LONGEST_SETTINGS else line[: _LONGEST_SETTINGS - 1] + "…"


def _fitted(lines: list[str], problems: list[str], longest: int) -> str:
    """Join the lines within the limit: long lines are cut, and problems that do not fit are counted."""
    room = longest - sum(len(line) + 1 for line in lines)
    shown: list[str] = []
    for number, problem in enumerate(problems):
        left = len(problems) - number
        more = f"  … and {left} more"
        if room - len(problem) - 1 < (len(more) + 1 if left > 1 else 0):
            shown.append(more)
            break
        shown.append(problem)
        room -= len(problem) + 1
    text = "\n".join([*lines, *shown])
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _typed_again(text: str, results: Sequence[Results]) -> list[str]:
    """Scores typed into the notes that stand under several runs, or repeat a dict's, to the last digit."""
    headings = list(_RUN_HEADING.finditer(text))
    places: dict[tuple[str, str], list[str]] = {}
    for number, heading in enumerate(headings):
        end = headings[number + 1].start() if number + 1 < len(headings) else len(text)
        for found in _TYPED.finditer(text, heading.end(), end):
            runs = places.setdefault((found.group(1), found.group(2)), [])
            if heading.group(1) not in runs:
                runs.append(heading.group(1))
    lines = []
    for (name, value), runs in places.items():
        same = [
            f"result {number}"
            for number, result in enumerate(results, start=1)
            if any(part.exact.get(name) == float(value) for part in result.parts.values())
        ]
        if len(runs) + len(same) > 1 and runs:
            lines.append(f"typed in the text, looks stale: {name} = {value} in {', '.join([*runs, *same])}")
    return lines
