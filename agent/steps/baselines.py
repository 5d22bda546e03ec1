"""The baselines: the template's own code, trained with several seeds and scored as any run is.

They are made once for a recipe, template, profile, data, evaluator, versions and device, and kept in the lab's cache
under a key of all these; a change of any makes them anew. Those of the profile lie in `run_0/`, those that match the L0
of a run in `run_0/matched/`; when they are made again within a campaign the older ones move to `run_0/stale_N/`. While
they are made they lie in `run_0/making/`, and each seed is an event of its own, so that a stop costs one at most.
"""

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent.base.errors import AgentError
from agent.base.files import write_atomically
from agent.campaign.campaign import Campaign
from agent.campaign.events import BaselinesMade, BaselineTrained, Stale
from agent.campaign.folder import EXPERIMENT
from agent.campaign.hashes import hashes, unchanged
from agent.results.matching import REFERENCE
from agent.results.read import load_result
from agent.steps.baseline_cache import (
    KIND,
    Recipe,
    conditions,
    copy_seeds,
    damage,
    differences,
    of_other_versions,
    other_conditions,
    set_aside,
    with_seed,
)
from agent.steps.failures import require
from agent.steps.score import evaluate
from agent.steps.set_up import prepare
from agent.steps.train import run_experiment


def make_baselines(campaign: Campaign) -> None:
    """Put the profile's baselines into `run_0/`, training and scoring those that the cache does not hold.

    Args:
        campaign: The campaign, just begun, or one whose baselines are stale.

    Raises:
        AgentError: The lab's set-up or a baseline failed; the line says where its output is.
    """
    _move_stale(campaign)
    now = conditions(campaign, prepare(campaign))
    folder = campaign.workspace.run_dir(0)
    recipes = [profile_recipe(campaign, architecture) for architecture in campaign.profile.baselines.architectures]
    others = of_other_versions(recipes[0], now)
    if others and any(not _cached(recipe, now).is_dir() for recipe in recipes):
        campaign.screen.say(f"  {others} kept baselines are of another version of this program; they are left alone")
    keys, names, made_under = {}, [], now
    for recipe in recipes:
        cached, under = obtain(campaign, now, recipe, f"baseline {recipe.architecture}")
        names += copy_seeds(cached, recipe, folder, recipe.architecture)
        keys[recipe.architecture] = cached.name
        made_under = under if under != now else made_under
    _copy_grid(campaign, folder / "grid")
    campaign.forget_baselines()
    campaign.record(BaselinesMade(keys=keys, runs=sorted(names), conditions=made_under))
    if made_under != now:
        go_on_stale(campaign, differences(made_under, now))


def profile_recipe(campaign: Campaign, architecture: str) -> Recipe:
    """The profile's recipe for the baseline of an architecture: what runs are compared with has all its seeds."""
    wanted = campaign.profile.baselines
    seeds = wanted.seeds if architecture == REFERENCE else wanted.first_seeds
    return Recipe({"architecture": architecture, **wanted.settings.get(architecture, {})}, seeds)


def obtain(campaign: Campaign, now: dict[str, Any], recipe: Recipe, what: str) -> tuple[Path, dict[str, Any]]:
    """Baselines from the cache; they are made where it has none that are whole and fresh.

    Args:
        campaign: The campaign.
        now: The conditions that they have to be made under.
        recipe: Which.
        what: What they are called on the screen.

    Returns:
        Their folder, to be read only, and the conditions they were made under (`now`, but with `stale_ok`).

    Raises:
        AgentError: One could not be trained or scored. What was trained is used when the campaign is resumed.
    """
    found = _kept_or_made(campaign, now, recipe, what)
    # Seeds that are in the cache now, or were trained under conditions that have changed since.
    shutil.rmtree(_making(campaign), ignore_errors=True)
    return found


def _kept_or_made(campaign: Campaign, now: dict[str, Any], recipe: Recipe, what: str) -> tuple[Path, dict[str, Any]]:
    from lab import cache

    folder = _cached(recipe, now)
    if folder.is_dir():
        whole = (folder / "key.json").is_file()
        wrong = damage(folder, recipe, now["facts"]["evals"]) if whole else "its key.json is missing"
        if not wrong:
            return folder, now
        with suppress(FileNotFoundError):  # another campaign has just done so
            kept = set_aside(folder)
            campaign.screen.say(
                f"  {what}: the kept one is damaged ({wrong}); it is set aside as {kept} and made again"
            )
    if other := other_conditions(recipe, now):
        path, under = other
        if campaign.settings.stale_ok and not damage(path, recipe, None):
            return path, under
        changes = ", ".join(differences(under, now))
        campaign.screen.say(f"  {what}: the kept one is stale and stays as it is; changed since: {changes}")
    made = cache.entry(
        KIND,
        recipe.key(now),
        lambda part: _make(campaign, now, recipe, what, part),
        waiting=campaign.waiting(what),
    )
    return made, now


def _cached(recipe: Recipe, now: dict[str, Any]) -> Path:
    from lab import cache

    return cache.root() / KIND / cache.fingerprint(recipe.key(now))


def _make(campaign: Campaign, now: dict[str, Any], recipe: Recipe, what: str, folder: Path) -> None:
    """Train and score in the workspace, a seed at a time, and copy what is whole into an empty folder of the cache."""
    home = _making(campaign) / _cached(recipe, now).name
    logs = campaign.workspace.run_dir(0) / "logs"
    for path in (home, logs):
        path.mkdir(parents=True, exist_ok=True)
    known = {seed: found for seed in recipe.seeds if (found := with_seed(recipe, now, seed))}
    for found in known.values():
        shutil.copytree(found, home / found.name, dirs_exist_ok=True)
    made = [_trained(campaign, recipe, seed, what, home) for seed in recipe.seeds if seed not in known]
    if made:
        result = evaluate(campaign, made, _log(logs, what, "scoring"), f"{what}: scoring {len(made)} seeds")
        require(result, f"scoring the {what}", campaign.profile.limits.score_seconds)
    if wrong := damage(home, recipe, now["facts"]["evals"]):
        raise AgentError(f"{what}: {wrong}: the lab was changed while the campaign went on; resume it")
    for seed in recipe.seeds:
        shutil.copytree(home / recipe.run_name(seed), folder / recipe.run_name(seed))


def _trained(campaign: Campaign, recipe: Recipe, seed: int, what: str, home: Path) -> Path:
    """Train one seed, but for one that a launcher before has trained and that is as it left it."""
    target = home / recipe.run_name(seed)
    before = campaign.state.making.get(home.name, {}).get(seed)
    if before is not None and unchanged(target, before):
        return target
    code = home / "code"
    code.mkdir(exist_ok=True)
    # Whole at each moment: a job that is found again may be reading it.
    write_atomically(code / EXPERIMENT, campaign.workspace.at(campaign.state.template, EXPERIMENT))
    one = f"{what}, seed {recipe.seeds.index(seed) + 1} of {len(recipe.seeds)}"
    log = _log(campaign.workspace.run_dir(0) / "logs", what, f"seed{seed}")
    settings = dict(recipe.settings)
    passes = settings.pop("passes", None)  # of the run, not of the script
    given = {"SAE_LAB_PASSES": str(passes)} if passes else {}
    told = json.dumps(settings)
    # A baseline that is as large as a run, or goes through its batches again, may take as many times longer.
    longer = max(1.0, settings.get("d_sae", 0) / campaign.profile.training.d_sae) * float(passes or 1)
    limit = round(longer * (campaign.settings.run_seconds or campaign.profile.limits.run_seconds))
    result = run_experiment(campaign, target, code, seed, one, told, log, given=given, seconds=limit, empty=True)
    require(result, one, limit)
    seconds = round(result.seconds, 2)
    campaign.record(BaselineTrained(key=home.name, seed=seed, seconds=seconds, files=hashes(target)))
    return target


def _making(campaign: Campaign) -> Path:
    """Where baselines lie until all their seeds are scored."""
    return campaign.workspace.run_dir(0) / "making"


def _log(folder: Path, what: str, part: str) -> Path:
    return folder / f"{what.replace(' ', '_')}_{part}.log"


def _copy_grid(campaign: Campaign, folder: Path) -> None:
    """Copy the scores of the lab's grid, where someone had it made; one that is damaged is left out."""
    from lab.grid import kept_points

    for point in kept_points(campaign.profile):
        target = folder / f"{point.architecture}_l0_{point.l0:g}_seed{point.seed}"
        try:
            load_result(point.folder)
        except AgentError:
            continue
        target.mkdir(parents=True, exist_ok=True)
        for name in ("results.json", "training.json"):
            shutil.copy(point.folder / name, target)


def _move_stale(campaign: Campaign) -> None:
    """Put the baselines of before where they stay; what a stopped attempt at new ones left is made again."""
    baseline_sets = campaign.state.baseline_sets
    if not baseline_sets:
        return
    folder = campaign.workspace.run_dir(0)
    kept = folder / f"stale_{len(baseline_sets)}"
    there = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("stale_")]
    there = [path for path in there if path != _making(campaign)]
    if kept.is_dir():
        for path in there:
            shutil.rmtree(path)
        return
    half_moved = folder / f"stale_{len(baseline_sets)}.part"
    half_moved.mkdir(exist_ok=True)
    for path in there:
        if path != half_moved:
            path.rename(half_moved / path.name)
    half_moved.rename(kept)
    campaign.forget_baselines()


def go_on_stale(campaign: Campaign, changes: list[str]) -> None:
    """The user wants no new baselines: what changed since stands beside every later comparison, and voids it."""
    if changes:
        campaign.screen.say(
            "  [yellow]the baselines are stale[/yellow] and kept (--stale-ok), so there will be no verdicts; "
            f"changed since: {', '.join(changes)}"
        )
    campaign.record(Stale(changes=changes, accepted=True))
