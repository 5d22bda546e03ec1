"""The confirmation: the best run trained again with fresh seeds, beside its baseline with the same seeds.

The best of several runs was chosen partly for its luck, so its score is biased; seeds that had no part in the choice
are not (winner's curse; Capen, Clapp and Campbell 1971).
"""

import os
import shutil

from agent.campaign.campaign import Campaign
from agent.campaign.confirmation import Confirmation
from agent.campaign.events import ConfirmBaseline, Confirmed, Confirming, ConfirmTrained
from agent.steps.baseline_cache import Recipe, copy_seeds
from agent.steps.baselines import obtain
from agent.steps.score import evaluate
from agent.steps.train import train_seed


def confirm(campaign: Campaign) -> None:
    """Do the next part of the confirmation: choose the run, train a seed, make the baseline, score.

    Args:
        campaign: The campaign, its runs done.

    Raises:
        AgentError: The baseline failed.
    """
    plan = campaign.state.confirmation
    if plan is None:
        _choose(campaign)
    elif plan.failed:
        _close(campaign, plan, f"seed {plan.failed[0].seed} failed: {plan.failed[0].failure}")
    elif plan.missing:
        _train(campaign, plan, plan.missing[0])
    elif not plan.baseline:
        _make_baseline(campaign, plan)
    else:
        _score(campaign, plan)


def fresh_seeds(used: set[int], count: int) -> list[int]:
    """The next seeds after all that were used, where a campaign of 0.1.0 has no secret to draw them from."""
    first = max(used, default=-1) + 1
    return list(range(first, first + count))


def _choose(campaign: Campaign) -> None:
    name = campaign.goal
    best = campaign.best(campaign.state.scored)
    row = best.row(name) if best else None
    if best is None or row is None or not campaign.improved(best):
        reason = f"no run improved on its baseline in {name} and kept the guards, so there is nothing to confirm"
        campaign.record(Confirming(run=None, against="", seeds=[], reason=reason))
        campaign.screen.say(f"  {reason}")
        return
    number = int(best.run.name.removeprefix("run_"))
    seeds = _seeds(campaign, number)
    reason = f"the largest gain in {name} over {best.baseline.name}"
    shutil.rmtree(campaign.confirm_dir(number), ignore_errors=True)
    campaign.record(Confirming(run=number, against=best.baseline.name, seeds=seeds, reason=reason))
    campaign.screen.say(f"  run {number} is confirmed on seeds {', '.join(map(str, seeds))}: {reason}")


def _seeds(campaign: Campaign, number: int) -> list[int]:
    """The seeds that a run is confirmed by."""
    if drawn := campaign.seeds():
        return [drawn.of_confirmation(number, place) for place in range(campaign.settings.confirm)]
    used = {run.seed or 0 for group in campaign.groups().values() for run in group.runs}
    return fresh_seeds(used | set(campaign.profile.baselines.seeds), campaign.settings.confirm)


def _train(campaign: Campaign, plan: Confirmation, seed: int) -> None:
    assert plan.run is not None
    folder = campaign.confirm_dir(plan.run) / f"run_{plan.run}_confirm_seed{seed}"
    what = f"confirming run {plan.run}, seed {plan.seeds.index(seed) + 1} of {len(plan.seeds)}"
    made = train_seed(campaign, campaign.attempt(plan.run).commit, folder, seed, what)
    campaign.record(
        ConfirmTrained(seed=seed, seconds=made.seconds, failure=made.failure, output=made.output, kept=folder.name)
    )


def _make_baseline(campaign: Campaign, plan: Confirmation) -> None:
    baselines = campaign.state.baselines
    assert baselines is not None
    assert plan.run is not None
    folder = campaign.workspace.run_dir(0) / "fresh"
    folder.mkdir(exist_ok=True)
    known = campaign.groups(campaign.attempt(plan.run).baseline_set)
    for trained in campaign.against(plan).ends or (plan.against,):
        recipe = Recipe(known[trained].overrides, tuple(plan.seeds))
        cached, _ = obtain(campaign, baselines.conditions, recipe, f"baseline {trained} on fresh seeds")
        copy_seeds(cached, recipe, folder, f"{trained}_fresh")
    campaign.forget_baselines()
    campaign.record(ConfirmBaseline(baseline=f"{plan.against}_fresh", key=cached.name))


def _score(campaign: Campaign, plan: Confirmation) -> None:
    assert plan.run is not None
    home = campaign.confirm_dir(plan.run)
    folders = [home / f"run_{plan.run}_confirm_seed{seed}" for seed in plan.seeds]
    result = evaluate(campaign, folders, home / "evaluate.log", f"confirming run {plan.run}: scoring")
    if result.ok:
        _close(campaign, plan, "")
    else:
        reason = result.reason(campaign.profile.limits.score_seconds * len(folders))
        _close(campaign, plan, f"its SAEs can't be scored: {reason}; {os.path.relpath(result.log, home.parent)}")


def _close(campaign: Campaign, plan: Confirmation, failure: str) -> None:
    assert plan.run is not None
    if failure:
        campaign.record(Confirmed(run=plan.run, failure=failure, verdicts={}))
        campaign.screen.say(f"  run {plan.run}: [red]not confirmed[/red], {failure}")
        return
    found = campaign.on_fresh_seeds(plan)
    row = found.row(campaign.goal)
    verdict = row.verdict if row else "not scored"
    outcome = "[green]confirmed[/green]" if verdict == "improved" else "not confirmed"
    campaign.record(Confirmed(run=plan.run, failure="", verdicts=found.headline_verdicts))
    campaign.screen.say(f"  run {plan.run}: {outcome}, {campaign.goal} is {verdict} on fresh seeds")
