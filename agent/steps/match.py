"""The step that trains the baselines without which a run has no verdict: TopK at its L0, as large and as tuned."""

from collections.abc import Mapping
from typing import Any

from agent.campaign.campaign import Campaign
from agent.campaign.events import Matched
from agent.campaign.state import Run
from agent.results.matching import group_name
from agent.steps.baseline_cache import Recipe, copy_seeds
from agent.steps.baselines import obtain, profile_recipe


def match(campaign: Campaign, this: Run) -> None:
    """Train the TopKs that a run has to be compared with and that there are not yet.

    Args:
        campaign: The campaign.
        this: The run, scored and waiting.

    Raises:
        AgentError: A baseline failed.
    """
    assert this.last is not None
    assert this.last.score is not None
    baselines = campaign.state.baselines
    assert baselines is not None
    base = profile_recipe(campaign, "topk")
    folder = campaign.workspace.run_dir(0) / "matched"
    folder.mkdir(exist_ok=True)
    keys, names = [], []
    for settings in this.last.score.missing or [{"k": this.last.score.match or 0}]:
        name = group_name(settings)
        campaign.screen.say(f"  run {this.number} is compared with TopK at {_said(settings)}")
        recipe = Recipe({**base.settings, **settings}, base.seeds)
        cached, _ = obtain(campaign, baselines.conditions, recipe, f"baseline {name}")
        keys.append(cached.name)
        names += copy_seeds(cached, recipe, folder, name)
    campaign.forget_baselines()
    comparison = campaign.verdict(this)
    campaign.record(
        Matched(
            run=this.number,
            k=this.last.score.match or 0,
            key=keys[0],
            runs=names,
            against=comparison.baseline.name,
            verdicts=comparison.headline_verdicts,
        )
    )


def _said(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value:g}" for name, value in settings.items())
