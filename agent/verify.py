"""Checks a campaign's folder against its own records: `python -m agent.verify RUN_DIR [--rescore]`.

The ledger is a chain of hashes; it holds the hashes of every scored folder and names the git commits of every edit; the
commits of the notes name the ledger's hash at that time. So what is changed, lost or made up afterwards shows, and is
named. Nothing is written. Exit code 0: all is as it was; 1: something differs; 2: there is nothing to check.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from agent.base.errors import AgentError
from agent.base.files import sha256
from agent.base.guard import guarded
from agent.campaign.events import (
    Completed,
    Confirming,
    Edited,
    Event,
    PlotEdited,
    Scored,
    SeedsDrawn,
    SeedsRevealed,
    Started,
)
from agent.campaign.folder import NOTES
from agent.campaign.hashes import changed_files
from agent.campaign.history import folder_hashes
from agent.campaign.ledger import ANCHOR, START, Line, read_event
from agent.campaign.repeats import SeedTrained, seeds_folder
from agent.campaign.seeds import Seeds
from agent.campaign.settings import Settings

TOLERANCE = 1e-4
# How long scoring one SAE again may take.
SECONDS = 3600.0


@dataclass
class Records:
    """A ledger, as far as it can be read.

    Args:
        lines: Its lines as they stand.
        events: The event of each line that can be read, in order, with its line's number from 1.
        problems: What is wrong with the lines.
    """

    lines: list[str] = field(default_factory=list)
    events: list[tuple[int, Event]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def hashes(self) -> dict[str, dict[str, str]]:
        """Hashes by file, by folder."""
        return folder_hashes(event for _, event in self.events)

    @property
    def scored(self) -> dict[str, str]:
        """The weights that each run was scored by, by the run's folder."""
        return {f"run_{event.run}": event.sae for _, event in self.events if isinstance(event, Scored)}


def verify(folder: Path, rescore: bool = False) -> list[str]:
    """List the differences from the records of a campaign.

    Args:
        folder: The campaign's.
        rescore: Whether every SAE is scored again, which takes as long as it did.

    Returns:
        A line for each difference; none when all is as it was.

    Raises:
        AgentError: The folder is not a campaign's.
    """
    ledger = folder / "ledger.jsonl"
    if not ledger.is_file():
        raise AgentError(f"{folder} has no ledger.jsonl: give a campaign's folder, one under runs/")
    records = read_records(ledger)
    known = records.hashes
    unknown = [f"{name}: scored, and no hash of it is in the ledger" for name in records.scored if name not in known]
    said = [*records.problems, *_history(folder, records), *changed_files(folder, known), *unknown]
    said += [*_made_from_weights(folder, records), *_seeds(folder, records)]
    if rescore:
        said += _rescored(folder, records)
    return said


def read_records(ledger: Path) -> Records:
    """Read a ledger line by line; one that is damaged does not hide the others.

    Args:
        ledger: The file.
    """
    text = ledger.read_bytes().decode("utf-8", errors="replace")
    whole, _, torn = text.rpartition("\n")
    records = Records(whole.split("\n") if whole else [])
    previous, shift = START, -1
    for number, line in enumerate(records.lines, 1):
        try:
            read = Line.parse(line)
            moved = read.number - number
        except (ValueError, TypeError):
            records.problems.append(f"ledger.jsonl, line {number}: damaged")
            previous = ""
            continue
        if previous and read.previous != previous:
            records.problems.append(
                f"ledger.jsonl, line {number}: out of its chain, a line before it was changed or lost"
            )
        elif moved != shift:
            records.problems.append(f"ledger.jsonl, line {number}: it says it is line {read.number + 1}")
        shift = moved
        previous = sha256(line)
        try:
            records.events.append((number, read_event(read.kind, read.data)))
        except AgentError:
            records.problems.append(f"ledger.jsonl, line {number}: no event as this version of the program writes them")
    if torn:
        records.problems.append("ledger.jsonl: the last line is torn, as by a crash while it was written")
    if not records.lines:
        records.problems.append("ledger.jsonl: empty")
    return records


def _history(folder: Path, records: Records) -> list[str]:
    """Tell if the commits that the ledger names are there in their order, and the ledger is the one that they name."""
    from git import Repo
    from git.exc import GitCommandError, InvalidGitRepositoryError, NoSuchPathError

    try:
        with Repo(folder) as repo:
            log = repo.git.log("--reverse", "--format=%H%x00%B%x01", "HEAD")
            changed = repo.git.diff("--name-only", "HEAD", "--", "experiment.py", "plot.py", "idea.json").split()
    except (GitCommandError, InvalidGitRepositoryError, NoSuchPathError, ValueError) as error:
        return [f"git: the history cannot be read ({' '.join(str(error).split())[:100]})"]
    commits = [part.strip().partition("\0") for part in log.split("\x01") if part.strip()]
    places = {commit: place for place, (commit, _, _) in enumerate(commits)}
    said, last = [f"{name}: differs from its last commit" for name in changed], -1
    for number, event in records.events:
        if not isinstance(event, Started | Edited | PlotEdited):
            continue
        named = f"git: commit {event.commit[:8]} of ledger line {number} ({event.kind})"
        if event.commit not in places:
            said.append(f"{named} is not in the history of HEAD")
        elif places[event.commit] < last:
            said.append(f"{named} comes before the one it follows")
        last = max(last, places.get(event.commit, -1))
    for commit, _, message in commits:
        # Other commits carry words of the model.
        for found in ANCHOR.finditer(message) if message.startswith(NOTES) else ():
            count = int(found[1])
            if count > len(records.lines):
                said.append(
                    f"ledger.jsonl: {count - len(records.lines)} lines are gone that commit {commit[:8]} knew of"
                )
            elif sha256(records.lines[count - 1]) != found[2]:
                said.append(f"ledger.jsonl, line {count}: not what commit {commit[:8]} recorded")
    return said


def _made_from_weights(folder: Path, records: Records) -> list[str]:
    """Tell whether each result is that of the weights beside it."""
    from lab import artifact
    from lab.errors import LabError

    said, scored = [], records.scored
    for name, files in records.hashes.items():
        place = folder / name
        # A grid's scores come without weights, and what is missing was said.
        if not any(file.startswith("sae/") for file in files) or not (place / "sae").is_dir():
            continue
        try:
            weights = artifact.load(place / "sae").fingerprint
        except LabError as error:
            said.append(f"{name}: its weights cannot be read: {str(error)[:200]}")
            continue
        for file in ("results.json", "training.json"):
            named = _named_weights(place / file)
            if named != weights:
                said.append(
                    f"{name}/{file}: not of the weights beside it ({named or 'none named'}, they are {weights})"
                )
        if name in scored and scored[name] != weights:
            said.append(f"{name}: the ledger recorded the score of other weights ({scored[name]}, they are {weights})")
    return said


def _seeds(folder: Path, records: Records) -> list[str]:
    """Tell whether every seed follows from the secret that the ledger had the hash of before there was any code."""
    said: list[str] = []
    hidden, edits, more = "", Counter[int](), Counter[tuple[int, int]]()
    used: list[tuple[str, object, Callable[[Seeds], object]]] = []
    for number, event in records.events:
        line = f"ledger.jsonl, line {number}"
        if isinstance(event, Started | SeedsDrawn):
            hidden, used = event.seeds, []
        elif isinstance(event, Edited):
            edits[event.run] += 1
        elif isinstance(event, Scored):
            name = f"run_{event.run}/training.json"
            drawn = partial(Seeds.of_run, number=event.run, attempt=edits[event.run])
            used.append((name, _recorded_seed(folder / name), drawn))
        elif isinstance(event, SeedTrained):
            attempt = edits[event.run]
            place = more[event.run, attempt]
            more[event.run, attempt] += 1
            drawn = partial(Seeds.of_more, number=event.run, attempt=attempt, place=place)
            used.append((line, event.seed, drawn))
            if not event.failure:
                name = f"{seeds_folder(event.run, attempt)}/{event.kept}/training.json"
                used.append((name, _recorded_seed(folder / name), drawn))
        elif isinstance(event, Confirming) and event.run is not None:
            used.append((line, event.seeds, partial(_of_confirmation, run=event.run, count=len(event.seeds))))
        elif isinstance(event, SeedsRevealed):
            seeds = Seeds(event.secret)
            if seeds.commitment != hidden:
                said.append(f"{line}: the secret of the seeds is not the one whose hash was recorded before")
            said += [f"{name}: its seed was not drawn from the secret" for name, told, of in used if told != of(seeds)]
            hidden = ""
        elif isinstance(event, Completed) and hidden:
            said.append(f"{line}: the secret of the seeds was not revealed")
    return said


def _of_confirmation(seeds: Seeds, run: int, count: int) -> list[int]:
    return [seeds.of_confirmation(run, place) for place in range(count)]


def _recorded_seed(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))["seed"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _named_weights(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["sae"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _rescored(folder: Path, records: Records) -> list[str]:
    """Score every SAE again from its weights, beside the campaign, and compare."""
    from agent.base.keys import child_environment
    from agent.compute.commands import lab_command
    from agent.compute.jail.spec import Limits
    from agent.compute.local import tail
    from agent.compute.sandbox import choose_sandbox, contain, gpus
    from lab.cache import root

    started = (event.settings for _, event in records.events if isinstance(event, Started))
    settings = next(started, Settings())
    sandbox = choose_sandbox(settings.sandbox)
    profile = Path(settings.profile)
    readable = [profile] if profile.is_file() else []
    names = [name for name in records.hashes if (folder / name / "sae").is_dir()]
    said: list[str] = []
    with tempfile.TemporaryDirectory(prefix="sae-verify-") as scratch:
        copies = {name: Path(scratch) / name.replace("/", "_") for name in names}
        for name, copy in copies.items():
            shutil.copytree(folder / name / "sae", copy / "sae")
        for name, copy in copies.items():
            old = _entries(folder / name / "results.json")
            arguments = [str(copy), "--evals", ",".join(old)]
            arguments += ["--profile", settings.profile]
            if settings.device:
                arguments += ["--device", settings.device]
            env = child_environment({"SAE_LAB_CACHE": str(root()), "OMP_WAIT_POLICY": "PASSIVE"})
            log = Path(scratch) / f"{copy.name}.log"
            result = contain(
                sandbox,
                lab_command("lab.evaluate", *arguments),
                cwd=copy,
                env=env,
                log=log,
                limits=Limits(SECONDS),
                readable=readable,
                writable=[copy, root()],
                devices=gpus(),
            )
            if not result.ok:
                said.append(f"{name}: it can't be scored again: {(tail(log).splitlines() or ['no output'])[-1]}")
                continue
            said += _compared(name, old, _entries(copy / "results.json"))
    return said


def _compared(name: str, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    said = []
    for evaluation, entry in old.items():
        again = new.get(evaluation, {"key": None, "metrics": {}})
        if again["key"] != entry["key"]:
            said.append(f"{name}: {evaluation} was scored under other conditions, so the scores cannot be compared")
            continue
        for metric, score in entry["metrics"].items():
            before, now = score["value"], again["metrics"].get(metric, {"value": None})["value"]
            same = before == now if before is None or now is None else abs(before - now) <= TOLERANCE * max(1, abs(now))
            if not same:
                said.append(f"{name}: {evaluation}.{metric} says {before}, the weights score {now}")
    return said


def _entries(results: Path) -> dict[str, Any]:
    try:
        entries: dict[str, Any] = json.loads(results.read_text(encoding="utf-8"))["entries"]
        return entries
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m agent.verify", description="Check a campaign's folder against its own records."
    )
    parser.add_argument("folder", type=Path, metavar="RUN_DIR", help="a campaign's folder, one under runs/")
    parser.add_argument("--rescore", action="store_true", help="also score every SAE again and compare")
    options = parser.parse_args(argv)
    try:
        said = verify(options.folder.resolve(), options.rescore)
    except AgentError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    for line in said:
        sys.stdout.write(f"{line}\n")
    sys.stdout.write(f"{len(said)} differences\n" if said else "all is as it was recorded\n")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(guarded(main))
