"""The step that trains the SAE of a run: `python experiment.py --out_dir=run_i` in the workspace."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.base.files import write_atomically
from agent.campaign.campaign import Campaign
from agent.campaign.events import Ran
from agent.campaign.folder import EXPERIMENT
from agent.campaign.hashes import hashes
from agent.campaign.state import Run
from agent.compute.commands import lab_command, progress_in
from agent.compute.local import ProcessResult, tail
from agent.steps.failures import FEEDBACK, fail, on_disk
from agent.steps.jobs import environment, run_contained
from agent.steps.result_checks import idle_parts
from agent.steps.set_up import activations

# The variable that names the file for what is seen of a run (`lab.given`).
REPORT = "SAE_LAB_REPORT"


def train(campaign: Campaign, this: Run) -> None:
    """Train the SAE of a run; what the command prints is in `run_i/log.txt`, whatever ends it.

    Args:
        campaign: The campaign.
        this: The run, its newest edit not yet started.
    """
    assert this.last is not None
    folder = campaign.workspace.run_dir(this.number)
    campaign.workspace.restore(this.last.commit, (EXPERIMENT,))
    limit = campaign.settings.run_seconds or campaign.profile.limits.run_seconds
    lines = folder / "lines.json"
    later = this.last.smoke.later if this.last.smoke else []
    seed = first_seed(campaign, this)
    # Parts of the edit that its smoke run was too short for: the run itself says whether they were reached.
    given = {REPORT: str(lines)} if later else {}
    what = f"run {this.number}: training"
    # What a launcher that was killed left there is no part of this attempt.
    result = run_experiment(campaign, folder, campaign.workspace.path, seed, what, given=given, empty=True)
    if not result.ok:
        fail(campaign, this, result.reason(limit), result)
    elif not (folder / "sae").is_dir() or not (folder / "training.json").is_file():
        fail(campaign, this, "it ended well but saved no SAE: main() has to call run.save(...)", result)
    else:
        idle = idle_parts(campaign, this, lines) if later else []
        lines.unlink(missing_ok=True)
        files = hashes(folder)
        seconds, way = round(result.seconds, 2), result.way
        campaign.record(Ran(run=this.number, seconds=seconds, idle=idle, files=files, sandbox=way))


def first_seed(campaign: Campaign, this: Run) -> int:
    """The seed that the newest attempt of a run is trained with first."""
    drawn = campaign.seeds()
    return drawn.of_run(this.number, len(this.attempts)) if drawn else campaign.profile.baselines.seeds[0]


@dataclass(frozen=True)
class TrainedSeed:
    """One more seed of a run's code.

    Args:
        folder: What it left.
        seconds: The time it took.
        failure: Why it saved no SAE, or nothing.
        output: The end of its output where it failed.
    """

    folder: Path
    seconds: float
    failure: str
    output: str


def train_seed(campaign: Campaign, commit: str, folder: Path, seed: int, what: str) -> TrainedSeed:
    """Train the code of a run with one more seed, beside the workspace.

    Args:
        campaign: The campaign.
        commit: The run's.
        folder: Where it leaves its SAE; the code is put into `code/` beside it.
        seed: The seed.
        what: The step, in words.
    """
    code = folder.parent / "code"
    code.mkdir(parents=True, exist_ok=True)
    script, source = code / EXPERIMENT, campaign.workspace.at(commit, EXPERIMENT)
    # A job of an earlier launcher may be reading it.
    if not script.is_file() or script.read_bytes() != source.encode():
        write_atomically(script, source)
    result = run_experiment(campaign, folder, code, seed, what, empty=True)
    failure = "" if result.ok else result.reason(campaign.settings.run_seconds or campaign.profile.limits.run_seconds)
    if not failure and not (folder / "training.json").is_file():
        failure = "it saved no SAE"
    return TrainedSeed(folder, round(result.seconds, 2), failure, tail(result.log, FEEDBACK) if failure else "")


def run_experiment(
    campaign: Campaign,
    folder: Path,
    code: Path,
    seed: int,
    what: str,
    settings: str = "{}",
    log: Path | None = None,
    seconds: float | None = None,
    given: Mapping[str, str] | None = None,
    empty: bool = False,
) -> ProcessResult:
    """Run `experiment.py` once.

    Args:
        campaign: The campaign.
        folder: Where it leaves its SAE.
        code: The folder with `experiment.py`, its working folder.
        seed: The seed, the lab's.
        what: The step, in words.
        settings: Overrides of the experiment's configuration, as JSON.
        log: Where the output goes; `log.txt` in `folder` when None.
        seconds: The time limit; that of a run when None.
        given: What the lab is told besides, in variables (`lab.given`).
        empty: Whether the folder is emptied first, and made where it is not there.

    Returns:
        How it ended.
    """
    from lab.handed import FILES, VARIABLE

    store = activations(campaign)
    command = lab_command("lab.runner", EXPERIMENT, f"--out_dir={os.path.relpath(folder, code)}")
    with progress_in(folder) as progress, campaign.screen.step(what, progress) as tick:
        result = run_contained(
            campaign,
            command,
            label=what,
            cwd=code,
            readable=[code / EXPERIMENT, *(store / name for name in FILES)],
            writable=[folder],
            empty=[folder] if empty else [],
            env={**environment(campaign, seed, progress, settings), VARIABLE: str(store), **(given or {})},
            log=log or folder / "log.txt",
            seconds=seconds or campaign.settings.run_seconds or campaign.profile.limits.run_seconds,
            tick=tick,
        )
    return on_disk(campaign, result, [folder], what)
