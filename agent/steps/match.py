"""The step that trains a baseline at the L0 of a run, so that the run can be judged."""

from agent.campaign.campaign import Campaign
from agent.campaign.events import Matched
from agent.campaign.state import Run
from agent.steps.baseline_cache import Recipe, copy_seeds
from agent.steps.baselines import obtain, profile_recipe


def match(campaign: Campaign, this: Run) -> None:
    """Train TopK at the L0 of a run that reached another one than the baselines, so that it can be judged at all.

    Args:
        campaign: The campaign.
        this: The run, scored and waiting.

    Raises:
        AgentError: The baseline failed.
    """
    assert this.last is not None
    assert this.last.score is not None
    assert this.last.score.match is not None
    k = this.last.score.match
    base = profile_recipe(campaign, "topk")
    recipe = Recipe({**base.settings, "k": k}, base.seeds)
    baselines = campaign.state.baselines
    assert baselines is not None
    campaign.screen.say(f"  run {this.number} reached another L0; it is compared with TopK at k={k}")
    cached, _ = obtain(campaign, baselines.conditions, recipe, f"baseline topk at L0 {k}")
    folder = campaign.workspace.run_dir(0) / "matched"
    folder.mkdir(exist_ok=True)
    names = copy_seeds(cached, recipe, folder, f"topk_l0_{k}")
    campaign.forget_baselines()
    comparison = campaign.verdict(this)
    campaign.record(
        Matched(
            run=this.number,
            k=k,
            key=cached.name,
            runs=names,
            against=comparison.baseline.name,
            verdicts=comparison.headline_verdicts,
        )
    )
