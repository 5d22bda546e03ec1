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
from typing import Any, get_args

from pydantic import ValidationError

from agent.base.errors import AgentError
from agent.base.files import flush_folder, sha256
from agent.campaign import events, repeats

START = "0" * 64
# The line of a commit that names how many events there were and the hash of the last (`Ledger.head`).
ANCHOR = re.compile(r"^Ledger: (\d+) ([0-9a-f]{64})$", re.MULTILINE)

AnyEvent = (
    events.Started
    | events.SettingsChanged
    | events.Resumed
    | events.SandboxChosen
    | events.Stopped
    | events.SeedsDrawn
    | events.SeedsRevealed
    | events.BaselineTrained
    | events.BaselinesMade
    | events.Stale
    | events.Refused
    | events.Edited
    | events.Smoked
    | events.SmokeFailed
    | events.Ran
    | events.Lost
    | events.Failed
    | events.Scored
    | events.Matched
    | repeats.SeedTrained
    | repeats.Looked
    | events.Refereed
    | events.GivenUp
    | events.Ended
    | events.Confirming
    | events.ConfirmTrained
    | events.ConfirmBaseline
    | events.Confirmed
    | events.PlotEdited
    | events.PlotFailed
    | events.Plotted
    | events.Completed
    | events.Sealed
    | events.Submitted
    | events.Requeued
)
KINDS: dict[str, type[AnyEvent]] = {one.kind: one for one in get_args(AnyEvent)}


def read_event(kind: str, facts: object) -> AnyEvent:
    """The event that a line of a ledger tells of.

    Args:
        kind: The line's kind.
        facts: The line's data.

    Raises:
        AgentError: No event of this version has this kind, or this kind has other fields.
    """
    try:
        return KINDS[kind].model_validate(facts)
    except (KeyError, TypeError, ValidationError) as error:
        raise other_version(error) from error


def other_version(error: object) -> AgentError:
    """The error for a ledger that tells what this version does not understand."""
    what = " ".join(str(error).split())[:120]
    return AgentError(f"the ledger is of another version of this program ({what}); start the idea anew")


@dataclass(frozen=True)
class Line:
    """One line of the file, taken apart, what it tells of not yet read.

    Args:
        number: Its place, from 0.
        time: When it was written, ISO 8601 in UTC.
        kind: What happened, for example `edited` or `scored`.
        data: The facts of it, JSON values only.
        previous: The hash of the line before.
    """

    number: int
    time: str
    kind: str
    data: dict[str, Any]
    previous: str

    @classmethod
    def parse(cls, text: str) -> "Line":
        """Take a line apart.

        Raises:
            ValueError: It is none.
        """
        try:
            fields = json.loads(text)
            return cls(fields["n"], fields["time"], fields["kind"], fields["data"], fields["previous"])
        except (KeyError, TypeError) as error:
            raise ValueError(str(error)) from error

    def __str__(self) -> str:
        fields = {"n": self.number, "time": self.time, "kind": self.kind, "data": self.data, "previous": self.previous}
        return json.dumps(fields, ensure_ascii=False)


@dataclass(frozen=True)
class Entry:
    """One event and its place in the ledger.

    Args:
        number: Its place, from 0.
        time: When it was written, ISO 8601 in UTC.
        event: What happened.
    """

    number: int
    time: str
    event: AnyEvent


class Ledger:
    """The event file of one campaign.

    Args:
        path: The file; it is made by the first event.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: list[Entry] = []
        self._last = START
        self._whole = 0
        if path.exists():
            self._read()

    @property
    def entries(self) -> list[Entry]:
        """All events so far with their times, oldest first."""
        return list(self._entries)

    @property
    def events(self) -> list[AnyEvent]:
        """All events so far, oldest first."""
        return [entry.event for entry in self._entries]

    @property
    def head(self) -> str:
        """The number of events and the hash of the last: a commit that names it keeps the ledger from being redone."""
        return f"{len(self._entries)} {self._last}"

    def append(self, event: AnyEvent) -> None:
        """Write one event and wait until it is on the disk.

        Args:
            event: What happened.

        Raises:
            AgentError: The line can't be written; the ledger keeps the events it had.
        """
        entry = Entry(len(self._entries), datetime.now(UTC).isoformat(timespec="milliseconds"), event)
        line = str(Line(entry.number, entry.time, event.kind, event.to_json(), self._last))
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
        self._entries.append(entry)

    def _read(self) -> None:
        whole, _, _ = self.path.read_bytes().rpartition(b"\n")
        self._whole = len(whole) + 1 if whole else 0
        for number, text in enumerate(whole.decode(errors="replace").split("\n") if whole else []):
            try:
                line = Line.parse(text)
            except ValueError as error:
                raise AgentError(
                    f"{self.path}, line {number + 1} is damaged ({error}); restore the file from a copy"
                ) from error
            if line.number != number or line.previous != self._last:
                raise AgentError(
                    f"{self.path}, line {number + 1} is out of its chain: a line before it was changed or lost"
                )
            self._last = sha256(text)
            self._entries.append(Entry(number, line.time, read_event(line.kind, line.data)))
