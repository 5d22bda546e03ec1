"""One run: `python experiment.py --out_dir=run_i` in the workspace, then its score from the weights it saved."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from agent.base.errors import AgentError
from agent.base.files import flush, remove_unfinished
from agent.campaign.campaign import Campaign
from agent.campaign.events import Failed, Lost, Ran, Scored
from agent.campaign.folder import EXPERIMENT
from agent.campaign.hashes import hashes, unchanged
from agent.campaign.state import Run
from agent.compute.commands import lab_command, progress_in
from agent.compute.local import ProcessResult, tail
from agent.report.tables import summary
from agent.results.read import load_result
from agent.steps.jobs import environment, run_contained
from agent.steps.result_checks import idle_parts, objections

FEEDBACK = 1500
# A failure with fewer bytes left on the disk counts as the disk's.
ROOM = 2**28


def execute(campaign: Campaign, this: Run) -> None:
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
    seed = campaign.profile.baselines.seeds[0]
    # Parts of the edit that its smoke run was too short for: the run itself says whether they were reached.
    traced = ["lab.traced", "--report", str(lines)] if later else []
    what = f"run {this.number}: training"
    # What a launcher that was killed left there is no part of this attempt.
    result = train(campaign, folder, campaign.workspace.path, seed, what, under=traced, empty=True)
    if not result.ok:
        _fail(campaign, this, result.reason(limit), result)
    elif not (folder / "sae").is_dir() or not (folder / "training.json").is_file():
        _fail(campaign, this, "it ended well but saved no SAE: main() has to call run.save(...)", result)
    else:
        idle = idle_parts(campaign, this, lines) if later else []
        lines.unlink(missing_ok=True)
        files = hashes(folder)
        seconds, way = round(result.seconds, 2), result.way
        campaign.record(Ran(run=this.number, seconds=seconds, idle=idle, files=files, sandbox=way))


def train(
    campaign: Campaign,
    folder: Path,
    code: Path,
    seed: int,
    what: str,
    settings: str = "{}",
    log: Path | None = None,
    under: Sequence[str] = (),
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
        under: A module of the lab, and its arguments, that runs the script and looks on.
        seconds: The time limit; that of a run when None.
        given: What its environment holds besides.
        empty: Whether the folder is emptied first, and made where it is not there.

    Returns:
        How it ended.
    """
    command = [sys.executable, EXPERIMENT, f"--out_dir={os.path.relpath(folder, code)}"]
    if under:
        command = lab_command(*under, *command[1:])
    with progress_in(folder) as progress, campaign.screen.step(what, progress) as tick:
        result = run_contained(
            campaign,
            command,
            label=what,
            cwd=code,
            readable=[code / EXPERIMENT],
            writable=[folder],
            empty=[folder] if empty else [],
            env={**environment(campaign, seed, progress, settings), **(given or {})},
            log=log or folder / "log.txt",
            seconds=seconds or campaign.settings.run_seconds or campaign.profile.limits.run_seconds,
            tick=tick,
        )
    return on_disk(campaign, result, [folder], what)


def score(campaign: Campaign, this: Run) -> None:
    """Score the SAE that a run saved, in a process that never imports the workspace's code.

    Args:
        campaign: The campaign.
        this: The run, trained.
    """
    assert this.last is not None
    assert this.last.ran is not None
    folder = campaign.workspace.run_dir(this.number)
    if not folder.is_dir() and _failed_dir(campaign, this).is_dir():
        # A launcher put it away as failed and had no time to record why.
        _failed_dir(campaign, this).rename(folder)
    if not unchanged(folder, this.last.ran.files):
        campaign.record(Lost(run=this.number))
        campaign.screen.say(f"  run {this.number}: what it saved is not there whole any more; it is trained again")
        return
    what = f"run {this.number}: scoring"
    result = evaluate(campaign, [folder], folder / "evaluate.log", what)
    if not result.ok:
        _fail(
            campaign, this, f"its SAE can't be scored: {result.reason(campaign.profile.limits.score_seconds)}", result
        )
        return
    try:
        scored = load_result(folder, folder.name)
    except AgentError as error:  # the run wrote its own record of training
        _fail(campaign, this, str(error), result)
        return
    if objection := objections(campaign, this, scored):
        _fail(campaign, this, f"its result does not count: {objection}", result)
        return
    comparison = campaign.compared(scored, this)
    campaign.record(
        Scored(
            run=this.number,
            seconds=round(result.seconds, 2),
            sandbox=result.way,
            sae=scored.weights,
            against=comparison.baseline.name,
            verdicts=comparison.headline_verdicts,
            match=comparison.wanted_k,
        )
    )
    campaign.screen.say(f"  {summary(campaign, campaign.state.runs[this.number - 1])}")


def evaluate(campaign: Campaign, folders: list[Path], log: Path, what: str) -> ProcessResult:
    """Score run folders with `python -m lab.evaluate`, one process for all of them.

    Args:
        campaign: The campaign.
        folders: Run folders that hold an SAE.
        log: Where the output goes.
        what: The step, in words.

    Returns:
        How the scoring ended.
    """
    evals = campaign.settings.evals or campaign.profile.default_evals
    arguments = [*map(str, folders), "--profile", str(campaign.profile.path), "--evals", ",".join(evals)]
    if campaign.settings.device:
        arguments += ["--device", campaign.settings.device]
    for folder in folders:
        remove_unfinished(folder)
    with progress_in(folders[0]) as progress, campaign.screen.step(what, progress) as tick:
        result = run_contained(
            campaign,
            lab_command("lab.evaluate", *arguments),
            label=what,
            cwd=folders[0],
            # Trusted, but it opens files that the run made: a flaw in how they are read must not reach the machine.
            trusted=True,
            writable=folders,
            env=environment(campaign, progress=progress),
            log=log,
            seconds=campaign.profile.limits.score_seconds * len(folders),
            tick=tick,
        )
    return on_disk(campaign, result, folders, what)


def on_disk(campaign: Campaign, result: ProcessResult, folders: list[Path], what: str) -> ProcessResult:
    """Have what was made on the disk before the ledger says so; tell a disk that is full from a run that fails.

    Args:
        campaign: The campaign.
        result: How a command ended.
        folders: What it has written.
        what: The step, in words.

    Returns:
        The result, unchanged.

    Raises:
        AgentError: It failed, and the disk has no room for it.
    """
    if result.ok:
        for folder in folders:
            flush(folder)
        return result
    disk = shutil.disk_usage(campaign.workspace.path)
    if disk.free < min(ROOM, disk.total / 4):
        raise AgentError(
            f"{what} failed with {disk.free / 1e6:.0f} MB left on the disk of {campaign.workspace.path}: "
            "free some space"
        )
    return result


def require(result: ProcessResult, what: str, limit: float) -> None:
    """Stop the campaign when a step that is not the model's doing failed.

    Raises:
        AgentError: With the last line of the output.
    """
    if not result.ok:
        last = (tail(result.log).splitlines() or ["no output"])[-1]
        raise AgentError(f"{what} failed ({result.reason(limit)}): {last}; the whole output is in {result.log}")


def _fail(campaign: Campaign, this: Run, reason: str, result: ProcessResult) -> None:
    """Keep what a failed attempt left, and say what happened in a form that fits into a prompt."""
    assert this.last is not None
    folder = campaign.workspace.run_dir(this.number)
    output = tail(result.log, FEEDBACK - len(reason) - 2)
    kept = _failed_dir(campaign, this)
    shutil.rmtree(kept, ignore_errors=True)
    folder.rename(kept)
    campaign.record(
        Failed(
            run=this.number,
            attempt=this.last.number,
            reason=reason,
            output=output,
            seconds=round(result.seconds, 2),
            kept=kept.name,
        )
    )
    campaign.screen.say(f"  run {this.number}, attempt {this.last.number}: [red]failed[/red], {reason}")


def _failed_dir(campaign: Campaign, this: Run) -> Path:
    """Where what the newest attempt left lies once it has failed."""
    assert this.last is not None
    return campaign.workspace.path / f"run_{this.number}_failed_{this.last.number}"
