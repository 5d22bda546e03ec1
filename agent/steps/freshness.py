"""Tell whether a campaign that is resumed may go on with the baselines it has."""

from agent.base.errors import AgentError
from agent.campaign.campaign import Campaign
from agent.campaign.events import Stale
from agent.campaign.state import Step, next_step
from agent.steps.baseline_cache import KIND, Recipe, conditions, copy_seeds, damage, differences
from agent.steps.baselines import go_on_stale, profile_recipe
from agent.steps.jobs import Host
from agent.steps.set_up import prepare

# The steps whose outcome is compared with a baseline; before the others nothing needs to be looked at.
_NEED_BASELINES: tuple[Step, ...] = ("propose", "train", "score", "match", "confirm")


def check_freshness(campaign: Campaign) -> None:
    """Before a campaign goes on: see whether its baselines still tell what a new run would be compared with.

    Baselines that are stale are made again at the next step, or are kept and void every verdict (`stale_ok`).

    Args:
        campaign: The campaign.

    Raises:
        AgentError: The lab's set-up failed.
    """
    state = campaign.state
    if state.baselines is None or next_step(state)[0] not in _NEED_BASELINES:
        return
    _restore(campaign)
    changes = differences(state.baselines.conditions, conditions(campaign, prepare(campaign)))
    if tuple(changes) == state.changed and (campaign.settings.stale_ok or not changes):
        return
    if campaign.settings.stale_ok:
        go_on_stale(campaign, changes)
        return
    campaign.executor.forget(Host(campaign))
    campaign.screen.say(f"  the baselines are stale and are made again; changed: {', '.join(changes)}")
    campaign.record(Stale(changes=changes, accepted=False))


def _restore(campaign: Campaign) -> None:
    """Copy baselines anew from the cache where the campaign's own copies were lost or damaged.

    Raises:
        AgentError: The cache has them no more.
    """
    from lab import cache

    baselines = campaign.state.baselines
    assert baselines is not None
    folder = campaign.workspace.run_dir(0)
    for architecture, key in baselines.keys.items():
        recipe = profile_recipe(campaign, architecture)
        seeds = tuple(int(name.rpartition("_seed")[2]) for name in baselines.runs if name.startswith(architecture))
        recipe = Recipe(recipe.settings, seeds)
        wrong = damage(folder, recipe, None)
        if not wrong:
            continue
        kept = cache.root() / KIND / key
        if damage(kept, recipe, None):
            raise AgentError(f"{wrong}, and the cache has no copy of it; start the idea anew")
        copy_seeds(kept, recipe, folder, architecture)
        campaign.forget_baselines()
        campaign.screen.say(f"  {wrong}: the baseline {architecture} was copied again from the cache")
