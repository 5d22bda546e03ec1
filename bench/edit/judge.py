"""Judges what an engine did with a case against what it should have done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from bench.edit.cases import Case

Verdict = Literal["right", "wrong_place", "half", "lost", "refused"]


@dataclass(frozen=True)
class Answer:
    """The answer of an engine to a case.

    Args:
        files: the files afterwards, by path.
        refused: it said that something could not be applied.
        codes: codes of its reasons and its statuses, where it gives such.
        seconds: time of all replies of the case.
    """

    files: dict[str, bytes]
    refused: bool
    codes: frozenset[str] = frozenset()
    seconds: float = 0.0


def judge(case: Case, answer: Answer, *, codes: bool) -> Verdict:
    """Compare an answer with a case.

    ``wrong_place``: the files came out other than asked for and the engine said nothing. ``half``: it wrote a part of
    the reply and said that another part failed. ``lost``: it said nothing and an edit is not in the files. ``refused``:
    it wrote nothing and said so where it could have applied the reply.

    Args:
        case: the case.
        answer: what an engine did.
        codes: the engine gives reasons, and a refusal counts only with the right one.
    """
    before, expected, files = case.before, case.expected_files, answer.files
    if case.expect in ("already", "no_change"):
        return _judge_quiet(case, answer, codes)
    if case.expect:
        if answer.refused and files == before:
            return "right" if not codes or case.expect in answer.codes else "lost"
        return ("half" if answer.refused else "wrong_place") if files != before else "lost"
    if files == expected:
        return "refused" if answer.refused and codes else "right"
    if files == before:
        return "refused" if answer.refused else "lost"
    return "half" if answer.refused else "wrong_place"


def _judge_quiet(case: Case, answer: Answer, codes: bool) -> Verdict:
    """Cases in which nothing is to be written and nothing is wrong, or nothing was asked for."""
    if answer.files != case.before:
        return "wrong_place"
    if codes:
        return "right" if case.expect in answer.codes and not answer.refused else "lost"
    if case.expect == "already":
        return "refused" if answer.refused else "right"
    # Text that is replaced by itself and called applied: the model believes that it changed something.
    return "right" if answer.refused else "lost"


def tally(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Count the verdicts."""
    counts = dict.fromkeys(("right", "wrong_place", "half", "lost", "refused"), 0)
    for verdict in verdicts:
        counts[verdict] += 1
    return counts
