"""The transcript: one line a model call, only ever appended to, so that any campaign can be replayed or resumed."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from agent.base.errors import AgentError
from agent.base.files import flush_folder
from agent.base.keys import scrub
from agent.models.base import Finish, Reply, Request

log = logging.getLogger(__name__)

# Bytes that have to be free before a question is asked whose answer is paid for.
ROOM = 2**24


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a transcript, or any JSON-lines file.

    A torn last line (the power went while it was written) is left out with a warning. A missing file is an empty one.

    Args:
        path: the file.

    Returns:
        the lines' objects, in order.

    Raises:
        AgentError: when a line other than the last is not a JSON object, or the file cannot be read.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise AgentError(f"cannot read the transcript {path}: {error.strerror}") from error
    lines = raw.split(b"\n")
    found: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                log.warning("%s: the last line is torn and was left out", path)
                break
            raise AgentError(f"{path}, line {number}: not JSON; mend or remove the line") from error
        if not isinstance(value, dict):
            raise AgentError(f"{path}, line {number}: not a JSON object; mend or remove the line")
        found.append(value)
    return found


@dataclass(frozen=True)
class Spent:
    """The use of a set of calls: tokens (input, output and lost ones), dollars, and calls whose price is unknown."""

    calls: int = 0
    tokens: int = 0
    dollars: float = 0.0
    unknown: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.calls + other.calls,
            self.tokens + other.tokens,
            self.dollars + other.dollars,
            self.unknown + other.unknown,
        )


def spent_by(lines: Sequence[dict[str, Any]]) -> Spent:
    """Add up what the calls of a transcript used, failed ones included."""
    total = Spent()
    for line in lines:
        tokens = sum(int(line.get(name) or 0) for name in ("tokens_in", "tokens_out", "tokens_lost"))
        dollars = line.get("dollars")
        total += Spent(1, tokens, float(dollars or 0.0), int(dollars is None))
    return total


def spent_on(reply: Reply) -> Spent:
    """The use of one call."""
    return spent_by([_cost(reply)])


class Transcript:
    """The calls of one campaign, in `transcript.jsonl`.

    A line is `{"n", "time", "purpose", "model", "request": {"system", "prompt", "max_tokens", "stop"}, "fingerprint",
    "reply", "tokens_in", "tokens_out", "tokens_cached", "tokens_lost", "dollars", "seconds", "tries", "finish"}`;
    `dollars` is null where the price is unknown. A call that failed has `error` in place of `reply`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> list[dict[str, Any]]:
        """All whole lines, in order; see `read_lines`."""
        return read_lines(self.path)

    def spent(self) -> Spent:
        """The use of all calls so far."""
        return spent_by(self.lines())

    def check_room(self) -> None:
        """See that a reply could be kept.

        Raises:
            AgentError: when the disk is about full.
        """
        if self.path.parent.is_dir() and (free := shutil.disk_usage(self.path.parent).free) < ROOM:
            raise AgentError(f"only {free / 1e6:.1f} MB are left for {self.path}; free some space for the next reply")

    def append(self, request: Request, reply: Reply) -> Reply:
        """Write one answered call; returns the reply with its line number in `call`."""
        answer = {"reply": reply.text, **_cost(reply), "finish": reply.finish}
        return replace(reply, call=self._write(request, reply.model, answer))

    def append_failure(self, request: Request, model: str, error: str, cost: Reply) -> None:
        """Write one call that brought no reply: what was said (`error`) and what was used all the same (`cost`)."""
        self._write(request, model, {"error": error, **_cost(cost)})

    def _write(self, request: Request, model: str, answer: dict[str, Any]) -> int:
        number = len(self.lines()) + 1
        line = {
            "n": number,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "purpose": request.purpose,
            "model": model,
            "request": {
                "system": request.system,
                "prompt": request.prompt,
                "max_tokens": request.max_tokens,
                "stop": list(request.stop),
            },
            "fingerprint": request.fingerprint,
            **answer,
        }
        append_line(self.path, json.dumps(_scrubbed(line), ensure_ascii=False))
        return number


def _scrubbed(value: Any) -> Any:
    """The same structure with every text scrubbed; done before the texts are escaped, which would hide keys."""
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, list):
        return [_scrubbed(item) for item in value]
    if isinstance(value, dict):
        return {name: _scrubbed(item) for name, item in value.items()}
    return value


def append_line(path: Path, text: str) -> None:
    """Append one line and have it on the disk before returning; a torn line before it is cut off first.

    A last line that only lacks its line end is kept.

    Args:
        path: the file; made, with its folder, when missing.
        text: the line, without its line end.

    Raises:
        AgentError: when the file cannot be written (a full disk, no permission). Nothing half is left behind.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        with path.open("ab+") as file:
            end = file.seek(0, os.SEEK_END)
            start = _whole_length(file, end)
            file.seek(start)
            if _is_object(file.read(end - start)):
                start, text = end, "\n" + text
            file.truncate(start)
            try:
                file.write(text.encode("utf-8", "replace") + b"\n")
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                os.ftruncate(file.fileno(), start)
                raise
        if new:
            flush_folder(path.parent)
    except OSError as error:
        raise AgentError(f"cannot write {path}: {error.strerror}; free some space or mend the permissions") from error


def _whole_length(file: BinaryIO, end: int) -> int:
    """The length in bytes of the file, which is `end` long, up to its last line end."""
    block = 65536
    while end > 0:
        start = max(0, end - block)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _is_object(raw: bytes) -> bool:
    try:
        return isinstance(json.loads(raw), dict)
    except ValueError:
        return False


def _cost(reply: Reply) -> dict[str, Any]:
    return {
        "tokens_in": reply.tokens_in,
        "tokens_out": reply.tokens_out,
        "tokens_cached": reply.tokens_cached,
        "tokens_lost": reply.tokens_lost,
        "estimated": reply.estimated,
        "dollars": reply.dollars,
        "seconds": round(reply.seconds, 3),
        "tries": reply.tries,
    }


def reply_from(line: dict[str, Any], *, model: str = "") -> Reply:
    """The reply that a transcript line holds; fields that the line lacks get their defaults."""
    finish: Finish = "length" if line.get("finish") == "length" else "stop"
    return Reply(
        text=str(line["reply"]),
        tokens_in=int(line.get("tokens_in") or 0),
        tokens_out=int(line.get("tokens_out") or 0),
        tokens_cached=int(line.get("tokens_cached") or 0),
        tokens_lost=int(line.get("tokens_lost") or 0),
        estimated=bool(line.get("estimated")),
        dollars=line.get("dollars"),
        seconds=float(line.get("seconds") or 0.0),
        tries=int(line.get("tries") or 1),
        finish=finish,
        model=model or str(line.get("model") or ""),
        call=int(line.get("n") or 0),
    )
