"""A model that answers from a file: an earlier transcript, or a campaign written by hand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.base.errors import AgentError
from agent.models.base import Reply, Request
from agent.models.transcript import read_lines, reply_from

PREFIX = "replay:"


class ReplayModel:
    """Answers with the replies of a JSON-lines file, in order, one a call, and costs nothing.

    Lines without `reply` (failed calls) are passed over. Token counts are those that the file has, dollars are 0.
    """

    def __init__(self, path: Path, *, used: int = 0) -> None:
        """Read the file.

        Args:
            path: a transcript, or any file with one JSON object a line that has `reply`.
            used: how many of its replies were given out before, by the campaign that is being resumed.

        Raises:
            AgentError: when the file is missing, is not JSON lines, or has no reply in it.
        """
        if not path.is_file():
            raise AgentError(f"no file to replay at {path}: give --model replay:PATH the path of a transcript.jsonl")
        self.path = path
        self._replies = [line for line in read_lines(path) if isinstance(line.get("reply"), str)]
        if not self._replies:
            raise AgentError(f'{path} has no replies: every line should be a JSON object with "reply"')
        self._next = used

    @property
    def name(self) -> str:
        return PREFIX + self.path.name

    @property
    def left(self) -> int:
        """Replies that have not been given out yet."""
        return max(0, len(self._replies) - self._next)

    def ask(self, request: Request) -> Reply:
        """The next reply of the file, whatever the request.

        Raises:
            AgentError: when all replies have been given out.
        """
        if not self.left:
            raise AgentError(
                f"the script {self.path} is at its end: all {len(self._replies)} replies were given; "
                "resume with a longer script or another --model"
            )
        started = time.monotonic()
        line = self._replies[self._next]
        self._next += 1
        reply = reply_from(line, model=self.name)
        return replace(
            reply, dollars=0.0, tokens_lost=0, tries=1, call=0, seconds=time.monotonic() - started, recorded=False
        )


def replies_used(lines: Sequence[dict[str, Any]]) -> int:
    """The number of replies of a script that the campaign with this transcript has already been given."""
    return sum(1 for line in lines if str(line.get("model") or "").startswith(PREFIX) and "reply" in line)
