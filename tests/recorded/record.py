"""Keeps a campaign as test data: `python -m tests.recorded.record RUN_DIR TARGET`, by the version that ran it.

TARGET.tar.xz holds the campaign's folder; with `--ledger`, TARGET.jsonl only its ledger. TARGET.state.json is the state
that the ledger folds into, TARGET.states.json the hash of the state after each of its events.
"""

import argparse
import hashlib
import io
import json
import lzma
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from agent.campaign.history import read_state
from agent.campaign.ledger import Ledger
from agent.campaign.state import State

# The page is made from the rest; the lock names a machine; git's samples of hooks are on every machine.
LEFT_OUT = ("report.html", ".lock", "hooks")


def plain(value: Any, names: Mapping[str, str | None]) -> Any:
    """Return a state as JSON values, which outlive the classes that they were in.

    Args:
        value: The state, or a part of it.
        names: A field's name, to the name that it gets; None for a field that is left out.
    """
    if isinstance(value, BaseModel):
        # What the ledger said: fields that only later versions have would stand there with their defaults.
        return value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if is_dataclass(value):
        called = {field.name: names.get(field.name, field.name) for field in fields(value)}
        return {name: plain(getattr(value, field), names) for field, name in called.items() if name}
    if isinstance(value, Mapping):
        return {str(key): plain(item, names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, names) for item in value]
    return value


def states(ledger: Path, told: Callable[[State], Any]) -> tuple[Any, list[str]]:
    """Fold a ledger.

    Args:
        ledger: The file.
        told: Makes JSON values of a state.

    Returns:
        The state after its last event, and a hash of the state after each.
    """
    events = Ledger(ledger).events
    folded = [told(read_state(events[: place + 1])) for place in range(len(events))]
    texts = [json.dumps(state, sort_keys=True).encode() for state in folded]
    return folded[-1], [hashlib.sha256(text).hexdigest() for text in texts]


def pack(folder: Path, target: Path) -> None:
    """Put a campaign's folder into an archive that depends on nothing but its files.

    Args:
        folder: The campaign's.
        target: The archive; the folder in it is called as it is.
    """
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "campaign"
        shutil.copytree(folder, copy, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
        # One pack that is not compressed: the archive's compression sees what its objects have in common.
        options = ["-c", "pack.compression=0", "-c", "core.compression=0", "repack", "-adfq", "--depth=0", "--window=0"]
        subprocess.run(["git", "-C", copy, *options], check=True)
        held = io.BytesIO()
        with tarfile.open(fileobj=held, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for path in sorted(copy.rglob("*")):
                entry = archive.gettarinfo(path, f"{target.name.partition('.')[0]}/{path.relative_to(copy).as_posix()}")
                entry.uid = entry.gid = entry.mtime = 0
                entry.uname = entry.gname = ""
                with path.open("rb") if path.is_file() else io.BytesIO() as file:
                    archive.addfile(entry, file)
    target.write_bytes(lzma.compress(held.getvalue(), preset=9 | lzma.PRESET_EXTREME))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Keep a campaign as test data.")
    parser.add_argument("folder", type=Path, metavar="RUN_DIR", help="the campaign's folder")
    parser.add_argument("target", type=Path, metavar="TARGET", help="where to, without an ending")
    parser.add_argument("--ledger", action="store_true", help="keep only its ledger")
    options = parser.parse_args(arguments)
    ledger, target = options.folder / "ledger.jsonl", options.target
    if options.ledger:
        shutil.copyfile(ledger, target.with_name(f"{target.name}.jsonl"))
    else:
        pack(options.folder, target.with_name(f"{target.name}.tar.xz"))
    folded = states(ledger, lambda state: plain(state, {}))
    for ending, value in zip(("state", "states"), folded, strict=True):
        text = json.dumps(value, indent=1, ensure_ascii=False)
        target.with_name(f"{target.name}.{ending}.json").write_text(f"{text}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
