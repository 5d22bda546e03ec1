"""The step that scores a run, from the weights that it saved."""

from pathlib import Path

from agent.base.errors import AgentError
from agent.base.files import remove_unfinished
from agent.campaign.campaign import Campaign
from agent.campaign.events import Lost, Scored
from agent.campaign.hashes import unchanged
from agent.campaign.state import Run
from agent.compute.commands import lab_command, progress_in
from agent.compute.local import ProcessResult
from agent.report.tables import summary
from agent.results.compare import RULES
from agent.results.read import load_result
from agent.steps.failures import fail, failed_dir, on_disk
from agent.steps.identical import identical
from agent.steps.jobs import environment, run_contained
from agent.steps.result_checks import objections


def score(campaign: Campaign, this: Run) -> None:
    """Score the SAE that a run saved, in a process that never imports the workspace's code.

    Args:
        campaign: The campaign.
        this: The run, trained.
    """
    assert this.last is not None
    assert this.last.ran is not None
    folder = campaign.workspace.run_dir(this.number)
    if not folder.is_dir() and failed_dir(campaign, this).is_dir():
        # A launcher put it away as failed and had no time to record why.
        failed_dir(campaign, this).rename(folder)
    if not unchanged(folder, this.last.ran.files):
        campaign.record(Lost(run=this.number))
        campaign.screen.say(f"  run {this.number}: what it saved is not there whole any more; it is trained again")
        return
    if name := identical(campaign, this):
        nothing = ProcessResult(0, 0.0, folder / "log.txt")
        fail(campaign, this, f"identical weights: no effect, with its seed the SAE is that of {name}", nothing)
        return
    what = f"run {this.number}: scoring"
    result = evaluate(campaign, [folder], folder / "evaluate.log", what)
    if not result.ok:
        fail(campaign, this, f"its SAE can't be scored: {result.reason(campaign.profile.limits.score_seconds)}", result)
        return
    try:
        scored = load_result(folder, folder.name)
    except AgentError as error:  # the run wrote its own record of training
        fail(campaign, this, str(error), result)
        return
    if objection := objections(campaign, this, scored):
        fail(campaign, this, f"its result does not count: {objection}", result)
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
            match=next((settings["k"] for settings in comparison.missing), None),
            missing=list(comparison.missing),
            rules=RULES,
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
