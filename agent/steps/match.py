"""The step that trains the baselines without which a run has no verdict: TopK at its L0, as large and as tuned."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from agent.campaign.campaign import Campaign
from agent.campaign.events import Matched
from agent.campaign.state import Run
from agent.results.matching import REFERENCE, group_name
from agent.results.read import Group
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
    keys, names = train_topks(campaign, this, this.last.score.missing or [{"k": this.last.score.match or 0}])
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


def train_topks(campaign: Campaign, this: Run, missing: Iterable[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Train TopKs, with as many seeds as a baseline starts with.

    Args:
        campaign: The campaign.
        this: The run that needs them.
        missing: The settings of each.

    Returns:
        Their keys in the cache, and the names of their seeds.
    """
    base, keys, names = profile_recipe(campaign, REFERENCE), [], []
    for settings in missing:
        name = group_name(settings)
        campaign.screen.say(f"  run {this.number} is compared with TopK at {_said(settings)}")
        recipe = Recipe({**base.settings, **settings}, campaign.profile.baselines.first_seeds)
        key, copied = _obtained(campaign, recipe, _folder(campaign, name), name)
        keys.append(key)
        names += copied
    return keys, names


def grow(campaign: Campaign, this: Run, beside: Iterable[Group]) -> list[str]:
    """Train all seeds of the baselines that a promising run is compared with.

    Args:
        campaign: The campaign.
        this: The run.
        beside: Its baselines.

    Returns:
        The names of the seeds that were not among those of any step before.
    """
    assert this.last is not None
    known, names = campaign.groups(this.last.baseline_set), []
    for name in dict.fromkeys(end for group in beside for end in (group.ends or (group.name,))):
        recipe = Recipe(known[name].overrides, campaign.profile.baselines.seeds)
        wanted = [f"{name}_seed{seed}" for seed in recipe.seeds]
        more = [each for each in wanted if each not in campaign.state.baseline_seeds]
        if more:
            _obtained(campaign, recipe, _folder(campaign, name), name)
        names += more
    return names


def _obtained(campaign: Campaign, recipe: Recipe, folder: Path, name: str) -> tuple[str, list[str]]:
    """Put a baseline where the campaign reads it from: its key in the cache, and the names of its seeds."""
    baselines = campaign.state.baselines
    assert baselines is not None
    folder.mkdir(exist_ok=True)
    cached, _ = obtain(campaign, baselines.conditions, recipe, f"baseline {name}")
    names = copy_seeds(cached, recipe, folder, name)
    campaign.forget_baselines()
    return cached.name, names


def _folder(campaign: Campaign, name: str) -> Path:
    profile = campaign.workspace.run_dir(0)
    return profile if name in campaign.baselines else profile / "matched"


def _said(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value:g}" for name, value in settings.items())
