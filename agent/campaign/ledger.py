"""The ledger: an append-only file of events, each line carrying the hash of the line before it.

State is never stored; it is computed from these events (`agent.campaign.history`), so a campaign can be stopped
anywhere and gone on with.
"""

import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.base.errors import AgentError
from agent.base.files import flush_folder, sha256

START = "0" * 64
# The line of a commit that names how many events there were and the hash of the last (`Ledger.head`).
ANCHOR = re.compile(r"^Ledger: (\d+) ([0-9a-f]{64})$", re.MULTILINE)


@dataclass(frozen=True)
class Event:
    """One line of the ledger.

    Args:
        number: Its place, from 0.
        time: When it was written, ISO 8601 in UTC.
        kind: What happened, for example `edited` or `scored`.
        data: The facts of it, JSON values only.
    """

    number: int
    time: str
    kind: str
    data: dict[str, Any]


class Ledger:
    """The event file of one campaign.

    Args:
        path: The file; it is made by the first event.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._events: list[Event] = []
        self._last = START
        self._whole = 0
        if path.exists():
            self._read()

    @property
    def events(self) -> list[Event]:
        """All events so far, oldest first."""
        return list(self._events)

    @property
    def head(self) -> str:
        """The number of events and the hash of the last: a commit that names it keeps the ledger from being redone."""
        return f"{len(self._events)} {self._last}"

    def append(self, kind: str, /, **data: Any) -> Event:
        """Write one event and wait until it is on the disk.

        Args:
            kind: What happened.
            **data: The facts of it, JSON values only.

        Returns:
            The event as written.

        Raises:
            AgentError: The line can't be written; the ledger keeps the events it had.
        """
        event = Event(len(self._events), datetime.now(UTC).isoformat(timespec="milliseconds"), kind, data)
        fields = {"n": event.number, "time": event.time, "kind": kind, "data": data, "previous": self._last}
        line = json.dumps(fields, ensure_ascii=False)
        new = not self.path.exists()
        try:
            with self.path.open("w+b" if new else "r+b") as file:
                # A line torn by a crash was never an event: the new one takes its place.
                file.seek(self._whole)
                file.truncate()
                file.write(line.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            if new:
                flush_folder(self.path.parent)
        except OSError as error:
            raise AgentError(
                f"cannot write {self.path}: {error.strerror or error}; free the space and resume"
            ) from error
        self._whole += len(line.encode()) + 1
        self._last = sha256(line)
        self._events.append(event)
        return event

    def _read(self) -> None:
        whole, _, _ = self.path.read_bytes().rpartition(b"\n")
        self._whole = len(whole) + 1 if whole else 0
        for number, line in enumerate(whole.decode(errors="replace").split("\n") if whole else []):
            try:
                fields = json.loads(line)
                event = Event(fields["n"], fields["time"], fields["kind"], fields["data"])
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise AgentError(
                    f"{self.path}, line {number + 1} is damaged ({error}); restore the file from a copy"
                ) from error
            if event.number != number or fields.get("previous") != self._last:
                raise AgentError(
                    f"{self.path}, line {number + 1} is out of its chain: a line before it was changed or lost"
                )
            self._last = sha256(line)
            self._events.append(event)
