"""The engines under test: ours in this process, aider's in its own environment."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from agent.edit import Block, apply_reply
from bench.edit.cases import Case
from bench.edit.judge import Answer

RUNS = 5
"""Each timed reply is run so often, and the quickest run counts: other programs on the machine should not."""


def ours(case: Case) -> Answer:
    """Run our engine on a case, in a folder of its own.

    Args:
        case: its replies are given one after another, with the blocks pending from the one before.
    """
    with tempfile.TemporaryDirectory(prefix="bench-edit-", dir=memory_folder()) as name:
        root = Path(name)
        for path, content in case.before.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)
        pending: list[Block] = []
        codes: frozenset[str] = frozenset()
        refused, seconds = False, 0.0
        for reply in case.replies:
            start = time.perf_counter()
            outcome = apply_reply(reply, root, case.editable or ["**"], lint=case.lint, pending=pending)
            seconds += time.perf_counter() - start
            # The loop keeps pending blocks in its ledger, so they go through JSON here too.
            pending = [Block.from_json(json.loads(json.dumps(block.to_json()))) for block in outcome.pending]
            refused = any(block.status == "rejected" for block in outcome.blocks)
            codes = frozenset(word for block in outcome.blocks for word in (block.code, block.status) if word)
        files = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    return Answer(files, refused, codes, seconds)


def best_of(case: Case, runs: int = RUNS) -> Answer:
    """The quickest of several runs of our engine, so that other programs on the machine do not count.

    Args:
        case: the case.
        runs: how many.
    """
    return min((ours(case) for _ in range(runs)), key=lambda answer: answer.seconds)


def memory_folder() -> str | None:
    """A folder held in memory, where the system has one: the engines are timed, not the disk."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def aider(cases: Sequence[Case], python: Path) -> list[Answer]:
    """Run aider's matcher on cases, in one process of its own environment.

    Args:
        cases: all cases; aider has no gate, so theirs is off.
        python: the interpreter of that environment.

    Raises:
        RuntimeError: the process failed.
    """
    lines = []
    for case in cases:
        files = {path: base64.b64encode(content).decode() for path, content in case.before.items()}
        editable = [path for path in case.before if not case.editable or _declared(path, case.editable)]
        lines.append(json.dumps({"files": files, "replies": case.replies, "editable": editable}))
    script = Path(__file__).with_name("aider_side.py")
    with tempfile.TemporaryDirectory(prefix="bench-edit-home-") as home:
        ran = subprocess.run(
            [str(python.absolute()), str(script)],
            input="\n".join(lines) + "\n",
            capture_output=True,
            text=True,
            encoding="utf-8",
            env={**os.environ, "HOME": home, "PYTHONPATH": "", "TMPDIR": memory_folder() or home},
            check=False,
        )
    answers = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    if ran.returncode or len(answers) != len(cases):
        last = (ran.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"aider's side answered {len(answers)} of {len(cases)} cases: {last[:300]}")
    return [
        Answer(
            {path: base64.b64decode(content) for path, content in answer["files"].items()},
            answer["refused"],
            seconds=answer["seconds"],
        )
        for answer in answers
    ]


def _declared(path: str, globs: Sequence[str]) -> bool:
    return any(path == glob or ("**" in glob and path.startswith(glob.split("**")[0])) for glob in globs)
