"""Replies of every kind against files of 2,000 lines with a line of one megabyte in each."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from bench.edit.cases import Case

LINES = 2000
HUGE = 1_000_000
_WORDS = (
    *("acts", "loss", "decoder", "encoder", "latent", "feature", "batch", "scale", "norm", "bias", "step", "rate"),
    *("topk", "mask", "resid", "sparse", "weight"),
)


def speed_cases(rounds: int = 2) -> list[Case]:
    """Cases to be timed; each edits or misses in a file of its own.

    Args:
        rounds: how many files.
    """
    cases = []
    for seed in range(rounds):
        rng = random.Random(seed)
        lines = _program(rng, "λ" if seed % 2 else "x")
        content = {"experiment.py": ("\n".join(lines) + "\n").encode()}
        for name, reply in _replies(lines, rng):
            cases.append(Case(f"{name} {seed}", "speed", [reply], before=content))
    return cases


def _program(rng: random.Random, sign: str) -> list[str]:
    lines: list[str] = []
    for number in range(LINES):
        depth = rng.choice([0, 4, 4, 8, 8, 12])
        a, b, c = rng.sample(_WORDS, 3)
        kind = rng.random()
        if kind < 0.15:
            lines.append("")
        elif kind < 0.3:
            lines.append(" " * depth + f"return {a}")
        elif kind < 0.35:
            lines.append(" " * depth + f"# “{a}” – λ of the {b}’s {c} {number}")
        else:
            lines.append(" " * depth + f"{a}_{number} = {b}({c}, {number % 97})")
    figures = "".join(f"'{word}': {number}, " for number, word in enumerate(_WORDS * 4500))
    # Every other file has a character beyond ASCII in its long line.
    lines[LINES // 3] = (f"# results at {sign} = 0.1: " + figures)[:HUGE]
    return lines


def _replies(lines: Sequence[str], rng: random.Random) -> Iterator[tuple[str, str]]:
    def span(size: int) -> list[str]:
        start = rng.choice([rng.randrange(10, 600), rng.randrange(700, LINES - size - 10)])
        return list(lines[start : start + size])

    for size in (3, 8, 30):
        old = span(size)
        yield f"exact {size}", _reply([(old, [*old[:-1], "new_line = 1"])])
        yield f"trailing space {size}", _reply([([line + "  " for line in old], [*old[:-1], "new_line = 2"])])
        yield f"indent {size}", _reply([(["  " + line if line else line for line in old], ["  pass"])])
        yield f"blank edges {size}", _reply([(["", *old, ""], ["", *old[1:], ""])])
        plain = [line.replace("“", '"').replace("”", '"').replace("–", "-").replace("’", "'") for line in old]
        yield f"unicode {size}", _reply([(plain, [*plain[:-1], "new_line = 3"])])
        yield f"one word off {size}", _reply([([*old[:-1], old[-1] + " + other"], ["x = 1"])])
    old = span(20)
    yield "dots", _reply([([*old[:2], "...", *old[-2:]], ["a = 1", "...", "b = 2"])])
    yield "ambiguous", _reply([(["    return acts"], ["    return loss"])])
    yield "nothing like it", _reply([(["while not converged(model):", "    optimiser.zero()"], ["pass"])])
    yield "already", _reply([(["gone = 1"], span(3))])
    yield "ten blocks", _reply([(list(lines[at : at + 3]), [f"block = {at}"]) for at in range(700, 1900, 120)])
    at = 700
    yield "overlay", _reply([(list(lines[at : at + 3]), ["fresh = 1"]), (["fresh = 1"], ["fresh = 2"])])
    yield "heading", _reply([(list(lines[at : at + 3]), ["Title", "=======", "text"])])
    huge = lines[LINES // 3]
    yield "long line off at its end", _reply([([huge[:27_000]], ["x = 1"])])


def _reply(blocks: Sequence[tuple[Sequence[str], Sequence[str]]]) -> str:
    parts = ["I change the following.\n"]
    for search, replace in blocks:
        body = ["<<<<<<< SEARCH", *search, "=======", *replace, ">>>>>>> REPLACE"]
        parts.append("experiment.py\n```python\n" + "\n".join(body) + "\n```\n")
    return "\n".join(parts)
