"""The step that gives a promising run more seeds, and its baselines, until its verdict is made."""

from agent.base.errors import AgentError
from agent.campaign.campaign import Campaign
from agent.campaign.hashes import hashes, unchanged
from agent.campaign.repeats import Looked, SeedTrained
from agent.campaign.state import Run
from agent.report.tables import summary
from agent.results.read import load_result
from agent.results.sequential import wanted
from agent.steps.match import grow, train_topks
from agent.steps.result_checks import foreign
from agent.steps.score import evaluate
from agent.steps.train import train_seed


def repeat(campaign: Campaign, this: Run) -> None:
    """Do the next part: train a seed that is wanted, or score those that are there and decide on more.

    Args:
        campaign: The campaign.
        this: The run, scored.

    Raises:
        AgentError: A baseline failed.
    """
    assert this.last is not None
    look, trained = this.last.look, this.last.repeats
    failed = next((seed for seed in trained if seed.failure), None)
    if failed is not None:
        _look(campaign, this, f"its seed {1 + len(trained)} failed: {failed.failure}")
    elif look is None:
        _look(campaign, this)
    elif 1 + len(trained) < look.wanted:
        _train(campaign, this)
    else:
        _score(campaign, this)


def _train(campaign: Campaign, this: Run) -> None:
    assert this.last is not None
    assert this.last.look is not None
    place, drawn = len(this.last.repeats), campaign.seeds()
    seed = drawn.of_more(this.number, this.last.number, place) if drawn else place + 1
    what = f"run {this.number}: training, seed {place + 2} of {this.last.look.wanted}"
    folder = campaign.seeds_dir(this) / f"run_{this.number}_seed{seed}"
    made = train_seed(campaign, this.last.commit, folder, seed, what)
    files = {} if made.failure else hashes(folder)
    campaign.record(
        SeedTrained(
            run=this.number,
            seed=seed,
            seconds=made.seconds,
            failure=made.failure,
            output=made.output,
            kept=folder.name,
            files=files,
        )
    )


def _score(campaign: Campaign, this: Run) -> None:
    """Score the seeds that were trained since the last look, and look again."""
    assert this.last is not None
    assert this.last.look is not None
    home, new = campaign.seeds_dir(this), this.last.repeats[this.last.look.seeds - 1 :]
    changed = [seed.kept for seed in new if not unchanged(home / seed.kept, seed.files)]
    if changed:
        _look(campaign, this, f"what its seed left is not there whole any more ({', '.join(changed)})")
        return
    folders = [home / seed.kept for seed in new]
    what = f"run {this.number}: scoring {len(new)} more seeds"
    result = evaluate(campaign, folders, home / f"evaluate_{this.last.look.wanted}.log", what)
    failure = ""
    if not result.ok:
        reason = result.reason(campaign.profile.limits.score_seconds * len(folders))
        failure = f"its further seeds can't be scored: {reason}"
    for folder in folders if result.ok else ():
        try:
            objection = foreign(campaign, load_result(folder))
        except AgentError as error:  # the run wrote its own record of training
            objection = str(error)
        failure = failure or (f"the result of a further seed does not count: {objection}" if objection else "")
    _look(campaign, this, failure)


def _look(campaign: Campaign, this: Run, failure: str = "") -> None:
    """Compare a run with the seeds that it has, and write down whether it gets more."""
    assert this.last is not None
    before, newest = this.last.look, len(campaign.state.baseline_sets) - 1
    seeds = 1 if before is None else before.seeds if failure else before.wanted
    names = list(before.match) if before else []
    if seeds > 1 and not failure and this.last.baseline_set == newest:
        names += _strengthen(campaign, this, seeds)
    comparison = campaign.compared(campaign.scored_seeds(this, seeds), this, failure)
    most = campaign.settings.seeds
    goal_seeds, reason = (seeds, failure) if failure else wanted(comparison, campaign.goal, most)
    if goal_seeds > seeds and this.last.baseline_set != newest:
        goal_seeds, reason = seeds, "its baselines were made again since"
    campaign.record(
        Looked(
            run=this.number,
            seeds=seeds,
            wanted=goal_seeds,
            most=most,
            reason=reason,
            against=comparison.baseline.name,
            verdicts=comparison.headline_verdicts,
            match=names,
            failure=failure,
        )
    )
    campaign.forget_baselines()
    has = "1 seed" if seeds == 1 else f"{seeds} seeds"
    gets = f"gets {goal_seeds}" if goal_seeds > seeds else "gets no more"
    campaign.screen.say(f"  run {this.number} has {has} and {gets}: {reason}")
    if seeds > 1 and goal_seeds == seeds:
        campaign.screen.say(f"  {summary(campaign, campaign.state.runs[this.number - 1])}")


def _strengthen(campaign: Campaign, this: Run, seeds: int) -> list[str]:
    """Train the baselines that more seeds of a run ask for: at their mean L0, and with all seeds of the profile."""
    ours, names = campaign.scored_seeds(this, seeds), []
    comparison = campaign.compared(ours, this)
    if comparison.missing:
        names += train_topks(campaign, this, comparison.missing)[1]
        comparison = campaign.compared(ours, this)
    return names + [name for name in grow(campaign, this, comparison.beside) if name not in names]
