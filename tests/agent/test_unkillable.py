"""A campaign whose launcher is killed again and again, on a disk that fills up, ends as one that nobody disturbed.

`make test-kills` kills 100 times, in campaigns with a failed smoke run and a confirmation besides; `KILLS` and
`KILL_SEED` choose how often, and which moments.
"""

import json
import logging
import os
import random
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.campaign.history import read_state
from agent.campaign.ledger import Ledger
from agent.models.transcript import read_lines
from agent.verify import verify
from lab import cache
from tests.agent.campaigns import IDEA, QUICK, mounted, strip_times
from tests.agent.lives import FILLER, Life, Lives
from tests.servers.model_server import ModelServer

KILLS = int(os.environ.get("KILLS", "25"))
SEED = int(os.environ.get("KILL_SEED", "1"))
WHOLE = KILLS >= 100
PLANNED = 50 if WHOLE else 40  # so many kills are meant for one campaign; then the next one begins
log = logging.getLogger(__name__)
READ = ("activations", "dtype", "evals", "models", "tokens")


def change(file, *pairs):
    return f"{file}\n" + "".join(f"<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n" for old, new in pairs)


SAID = "<change>A higher learning rate</change>\n<prediction>\ncore.explained_variance up\n</prediction>\n\n"
LR, EVERY = "    lr: float | None = {}", "    log_every: int = {}"
BEGIN, FASTER = LR.format("None"), LR.format(0.012)
REFUSED = SAID + change("experiment.py", (LR.format("nothing like it"), FASTER))
BROKEN = SAID + change("experiment.py", (BEGIN, FASTER), (EVERY.format(10), EVERY.format(0)))
MENDED = change("experiment.py", (EVERY.format(0), EVERY.format(10)))
GOOD = SAID + change("experiment.py", (BEGIN, FASTER))
DONE = "<analysis>\nExplained variance {run_1:core.explained_variance}.\n</analysis>\n\nALL_COMPLETED\n"
LABEL = "<change>A label</change>\n<analysis>\nSee {run_1:core.l0}.\n</analysis>\n" + change(
    "plot.py", ("LABELS: dict[str, str] = {}", 'LABELS: dict[str, str] = {"run_1": "learning rate 0.012"}')
)
REPLIES = [REFUSED, BROKEN, MENDED, DONE, LABEL] if WHOLE else [REFUSED, GOOD, DONE, LABEL]
SUBJECTS = [
    "Notes: Baselines",
    "run_1: A higher learning rate",
    *(["run_1 (attempt 2): A higher learning rate"] if WHOLE else []),
    "Notes: run_1: scored",
    # Its learning rate is not the baseline's: it is compared with one that has the same.
    "Notes: run_1: matched",
    *(["Notes: confirmation"] if WHOLE else []),
    "Plots: A label",
    "Notes: figures",
]


class Answers:
    """The replies in order of the questions; a question that was asked before gets the reply that it got."""

    def __init__(self):
        self.asked, self.lost = Counter(), 0

    def __call__(self, call):
        self.asked[call.prompt] += 1
        return REPLIES[list(self.asked).index(call.prompt)]

    @property
    def count(self):
        return sum(self.asked.values())


@dataclass
class Place:
    """Where a campaign is made: a small disk, and a cache of its own with the model, the activations and the set-up."""

    folder: Path
    arguments: list[str]
    logs: list[Path] = field(default_factory=list)

    def life(self, **fate):
        """A life of the launcher: it begins the campaign, or goes on with it."""
        log = self.folder / f"life_{len(self.logs)}.log"
        self.logs.append(log)
        made = self.campaign
        more = ["--resume", str(made)] if made else [*self.arguments, "--runs", str(self.runs)]
        env = {"SAE_LAB_CACHE": str(self.folder / "cache"), "TMPDIR": str(self.folder / "tmp")}
        return Life(more, env, str(log), disk=str(self.disk), **fate)

    @property
    def disk(self):
        """The disks that can be filled."""
        return self.folder / "disk"

    @property
    def runs(self):
        """The folder of all campaigns."""
        return self.disk / "runs"

    @property
    def campaign(self):
        """The folder of the campaign; None before it is made."""
        return next(self.runs.glob("2*"), None)

    @property
    def replies(self):
        """The replies in the transcript."""
        lines = read_lines(self.campaign / "transcript.jsonl") if self.campaign else []
        return [line["reply"] for line in lines]

    @property
    def starts(self):
        """For each life, the logs of the commands that it started, in order."""
        return [commands(log) for log in self.logs]


def commands(log):
    written = re.findall(r"^write (\S+\.log|\S+/log\.txt)$", log.read_text(), re.MULTILINE)
    return [re.sub(r".*/(\.\w+\.part-\w+|runs/[^/]*)/", "", path) for path in written if "sae-probe" not in path]


@pytest.fixture(scope="module")
def lives():
    with Lives() as started:
        yield started


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A profile with two seeds, and less memory and output for a run."""
    path = tmp_path_factory.mktemp("profile") / QUICK.name
    text = QUICK.read_text().replace("seeds = [0, 1, 2]", "seeds = [0, 1]")
    path.write_text(f"{text}run_memory_gb = 3.0\nrun_output_mb = 1.0\n")
    return path


@pytest.fixture(scope="module")
def answers():
    return Answers()


@pytest.fixture(scope="module")
def make_place(prepared, small, answers, tmp_path_factory):
    """Makes places for campaigns, all of which ask the same server."""
    disks = []
    with ModelServer(answers) as server:
        model = f"openai:test@{server.openai_url}"
        arguments = ["--idea", IDEA, "--model", model, "--profile", str(small)]
        arguments += ["--confirm", "2" if WHOLE else "0"]

        def make(folder=None):
            folder = folder or tmp_path_factory.mktemp("place")
            for name in ("tmp", "disk"):
                (folder / name).mkdir()
            if mounted("-t", "tmpfs", "-o", "size=200m", "none", folder / "disk"):
                disks.append(folder / "disk")
            for kind in READ:
                if (cache.root() / kind).is_dir():
                    ignored = shutil.ignore_patterns(".*")
                    shutil.copytree(cache.root() / kind, folder / "cache" / kind, ignore=ignored, copy_function=linked)
            answers.asked, answers.lost = Counter(), 0
            return Place(folder, arguments)

        yield make
    for disk in disks:
        subprocess.run(["umount", "--lazy", disk], check=True)


def linked(source, target):
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@dataclass
class Ended:
    """The parts of a finished campaign that are compared."""

    notes: str
    scores: dict
    events: list
    replies: list
    subjects: list
    files: set
    history: list

    @classmethod
    def of(cls, folder):
        results = {path.relative_to(folder).as_posix(): json.loads(path.read_text()) for path in found(folder)}
        scores = {
            name: (result["sae"], {kind: entry["metrics"] for kind, entry in result["entries"].items()})
            for name, result in results.items()
        }
        told = ("resumed", "sandbox", "stopped")
        events = [
            (event.kind, getattr(event, "run", None), getattr(event, "seed", None)) for event in events_of(folder, told)
        ]
        commits = git(folder, "log", "--reverse", "--format=%H").split()
        return cls(
            strip_times((folder / "notes.txt").read_text()),
            scores,
            events,
            [line["reply"] for line in read_lines(folder / "transcript.jsonl")],
            git(folder, "log", "--reverse", "--format=%s").splitlines(),
            {path.relative_to(folder).as_posix() for path in folder.rglob("*") if ".git" not in path.parts},
            [tree(folder, commit) for commit in commits],
        )


def found(folder):
    return sorted(folder.glob("run_*/**/results.json"))


def events_of(folder, left_out):
    return [event for event in Ledger(folder / "ledger.jsonl").events if event.kind not in left_out]


def git(folder, *arguments):
    return subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=True).stdout


def tree(folder, commit):
    """The contents of a commit: names and hashes, and the notes as text without times."""
    lines = git(folder, "ls-tree", "-r", commit).splitlines()
    return [line for line in lines if not line.endswith("notes.txt")], strip_times(
        git(folder, "show", f"{commit}:notes.txt")
    )


@pytest.fixture(scope="module")
def undisturbed(lives, make_place):
    place = make_place()
    death = lives.live(place.life())
    assert death.code == 0, death.err
    assert death.left == []
    ended = Ended.of(place.campaign)
    assert ended.subjects[1:] == SUBJECTS
    return ended, death, place


def lost_calls(log, asked):
    """The number of questions of a life that had no time to come into the transcript, as it was killed."""
    lines = log.read_text().splitlines()
    return asked - sum(line.endswith("/transcript.jsonl") for line in lines[:-1])


def check(place, ended, answers):
    """That a disturbed campaign ended as the undisturbed one, paid no answer twice, and left nothing about."""
    assert answers.count == len(ended.replies) + answers.lost
    assert verify(place.campaign) == []
    now = Ended.of(place.campaign)
    for part in vars(ended):
        assert getattr(now, part) == getattr(ended, part), part
    git_left = [*place.campaign.glob(".git/**/*.lock"), *place.campaign.glob(".git/objects/*/tmp_*")]
    # Python tries a folder for temporary files with a file of eight characters.
    scratch = [path for path in (place.folder / "tmp").iterdir() if not re.fullmatch(r"[a-z0-9_]{8}", path.name)]
    assert [*git_left, *scratch] == []
    kept = [path.name for path in (place.folder / "cache").glob("*/.*") if not path.name.endswith(".lock")]
    assert kept == []
    assert [path.name for path in place.runs.iterdir()] == [place.campaign.name]
    assert git(place.campaign, "status", "--porcelain") == ""
    check_repeats(place)


def check_repeats(place):
    """That a life repeats at most the one command that was under way when the one before was killed."""
    done = set()
    for started in place.starts:
        again = done.intersection(started)
        assert not again, f"{again} had come to an end, and was started again"
        # The last of a life may have been under way; the lab's set-up is looked at by each.
        done.update(name for name in started[:-1] if not name.endswith("prepare.log"))


def fates(dice, death, disk):
    """The fates of launchers: a kill at a moment, a kill after a time, a disk that is full from some moment on."""
    if not os.path.ismount(disk):
        log.warning("no small disk can be mounted here, so none is filled")
    moments, seconds = 2 * (30 + death.moments // PLANNED), 2 * (1.5 + death.seconds / PLANNED)
    while True:
        kind = dice.choices(("die", "after", "fill"), (5, 3, 2 if os.path.ismount(disk) else 0))[0]
        fate = {kind: dice.uniform(0.02, seconds) if kind == "after" else dice.randint(1, moments)}
        yield {**fate, "clock": dice.choice((0, 0, dice.randint(1, 9999)))}


@pytest.mark.timeout(60 * (10 + KILLS))
def test_killed_at_any_moment_a_campaign_ends_the_same(lives, make_place, undisturbed, answers):
    ended, death, _ = undisturbed
    place, fate = make_place(), fates(random.Random(SEED), death, undisturbed[2].disk)
    told = Counter()
    while told["kills"] < KILLS:
        one = next(fate)
        about = f"KILL_SEED={SEED}, {dict(told)}, {one}, {place.folder}"
        asked, kept = answers.count, len(place.replies)
        this = lives.live(place.life(**one))
        assert this.left == [], about
        assert this.code in ((0, -9), (0, 2))["fill" in one], (about, this.err)
        lost = answers.count - asked - (len(place.replies) - kept)
        if this.code == -9:
            assert lost == lost_calls(place.logs[-1], answers.count - asked) in (0, 1), about
        elif this.code == 2:
            assert re.fullmatch(r"error: .*space.*\n", this.err), (about, this.err)
            (place.disk / FILLER).unlink()
        answers.lost += lost
        told += Counter(kills=this.code == -9, full=this.code == 2, lost=lost, seconds=this.seconds)
        if this.code == 0:
            (place.disk / FILLER).unlink(missing_ok=True)
            check(place, ended, answers)
            place = make_place()
    begun = place.campaign is not None
    for name in (".git/index.lock", ".git/refs/heads/main.lock", ".notes.txt.0a1b2c3d.new") if begun else ():
        (place.campaign / name).write_text("half")
    this = lives.live(place.life())
    assert this.code == 0, (about, this.err)
    if begun:
        assert ".git/index.lock, left behind by a git that was killed, was removed" in this.out
    check(place, ended, answers)
    log.info("%s", dict(told))


def with_answers(lives, undisturbed, folder, replies, *more):
    """A campaign of its own beside the baselines that there are, and the questions that were asked."""
    place = undisturbed[2]
    env = {"SAE_LAB_CACHE": str(place.folder / "cache"), "TMPDIR": str(folder)}
    with ModelServer(replies) as server:
        model = ["--model", f"openai:test@{server.openai_url}", "--runs", str(folder / "runs")]
        death = lives.live(Life([*place.arguments, *model, *more], env))
    assert (death.code, death.err, death.left) == (0, "", [])
    return next((folder / "runs").iterdir()), [call.prompt for call in server.calls]


def test_a_model_that_answers_nonsense_for_ever_comes_to_an_end(lives, undisturbed, tmp_path):
    folder, questions = with_answers(lives, undisturbed, tmp_path, ["As I said: 42."], "--max-runs", "2")
    state = read_state(Ledger(folder / "ledger.jsonl").events)
    assert len(questions) == 2 * state.settings.format_tries
    assert state.completed
    assert [run.status for run in state.runs] == ["refused", "refused"]
    assert "0 of 2 runs were scored; all runs allowed were made." in (folder / "notes.txt").read_text()


def test_what_ended_a_script_is_told_to_the_model_and_stands_in_the_notes(lives, undisturbed, tmp_path):
    hungry, loud = "len(torch.ones(4 * 10**9))", '[print("x" * 10**6) for _ in range(10**4)] and 10'
    replies = [
        SAID + change("experiment.py", (EVERY.format(10), EVERY.format(hungry))),
        change("experiment.py", (EVERY.format(hungry), EVERY.format(loud))),
        "<analysis>\nIt can't be run.\n</analysis>\n\nALL_COMPLETED\n",
    ]
    folder, questions = with_answers(lives, undisturbed, tmp_path, replies)
    assert re.search(r"it held memory of [34]\.\d GB, and 3\.0 GB are allowed", questions[1])
    assert re.search(r"it had printed \d+ MB, and 1 MB are allowed", questions[2])
    assert (folder / "run_1_smoke_2" / "log.txt").stat().st_size < 1_100_000
    notes = " ".join((folder / "notes.txt").read_text().split())
    assert "and 3.0 GB are allowed" in notes
    assert "and 1 MB are allowed" in notes
    assert "failed; the model said ALL_COMPLETED" in notes
    assert len(questions) == 3
