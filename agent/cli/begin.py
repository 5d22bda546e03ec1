"""Before a campaign goes on: everything that can be wrong is checked, then its folder is made, or taken up."""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.base.errors import AgentError
from agent.base.places import PROJECT
from agent.base.screen import Screen, duration
from agent.campaign.campaign import Campaign
from agent.campaign.events import Resumed, SettingsChanged
from agent.campaign.history import read_state
from agent.campaign.settings import Settings
from agent.campaign.workspace import Workspace
from agent.compute.executor import Executor, make_executor, settings_types
from agent.compute.sandbox import choose_sandbox
from agent.compute.settings import ExecutorSettings, load_settings
from agent.idea import Idea, load_idea
from agent.models import choose
from agent.results.matching import REFERENCE
from agent.steps.jobs import Host
from lab.settings import Profile, load_profile


@dataclass(frozen=True)
class Checked:
    """A campaign that can begin.

    Args:
        idea: What is to be tried.
        settings: What bounds it.
        profile: The lab's settings.
        executor: Where its jobs are run.
        said: Who answers, in a line.
    """

    idea: Idea
    settings: Settings
    profile: Profile
    executor: Executor
    said: str


def check(arguments: argparse.Namespace, name: str) -> Checked:
    """Look at everything that can be wrong before anything is made.

    Args:
        arguments: The command line.
        name: The idea.

    Raises:
        AgentError: Something is.
    """
    idea = load_idea(name, arguments.ideas)
    profile = load_profile(arguments.profile)
    script = arguments.ideas / f"{idea.Name}.script.jsonl"
    if arguments.model == "script":
        if not script.is_file():
            raise AgentError(f"the idea {idea.Name} has no scripted campaign ({script}); give another --model")
        choice = choose(f"replay:{script}")
    else:
        choice = choose(arguments.model, script=script if script.is_file() else None)
    if choice.provider == "replay" and not Path(choice.name).is_file():
        raise AgentError(f"no file to replay at {choice.name}: give --model replay:PATH the path of a transcript.jsonl")
    if arguments.editor == "aider":
        from agent.edit.aider.editor import find_aider

        find_aider()
    choose_sandbox(not arguments.no_sandbox)
    evals, asked = _asked(arguments, idea, profile)
    given = {
        **_may_change(arguments),
        "profile": str(profile.path),
        "model": choice.spec,
        "editor": arguments.editor,
        "evals": evals,
        "device": arguments.device,
        **asked,
    }
    settings = _validated({key: value for key, value in given.items() if value is not None})
    executor = executor_of(settings)
    executor.check()
    return Checked(idea, settings, profile, executor, choice.said)


def begin(ready: Sequence[Checked], runs: Path, screens: Sequence[Screen]) -> list[Campaign]:
    """Make the folders of new campaigns; those that share a budget know of each other.

    Args:
        ready: The campaigns.
        runs: The folder that campaigns are made in.
        screens: What the user sees of each.

    Returns:
        The campaigns, under way.

    Raises:
        AgentError: A folder could not be made; no new one is left then.
    """
    made: list[Campaign] = []
    try:
        for one, screen in zip(ready, screens, strict=True):
            workspace = Workspace.create(one.idea, one.settings, runs)
            made.append(Campaign(workspace, screen, PROJECT, one.executor))
            screen.say(f"[bold]{one.idea.Title}[/bold]")
            screen.say(f"  {one.said}")
            screen.say(f"  workspace {workspace.path}")
            _show_plan(screen, one.profile, one.settings)
        names = [campaign.workspace.path.name for campaign in made]
        for campaign in made if len(made) > 1 else []:
            shared = campaign.settings.model_copy(update={"together": tuple(names)})
            campaign.record(SettingsChanged(settings=shared))
    except (AgentError, KeyboardInterrupt):
        for campaign in made:
            campaign.workspace.delete()
        raise
    return made


def executor_of(settings: Settings) -> Executor:
    """Make the executor that settings name."""
    return make_executor(settings.executor, settings.executor_settings.get(settings.executor))


def reopen(workspace: Workspace, screen: Screen, arguments: argparse.Namespace) -> Campaign:
    """Open a campaign that was stopped; it goes on with the executor that is given anew, where one is.

    Args:
        workspace: Its folder.
        screen: What the user sees of it.
        arguments: The command line.

    Raises:
        AgentError: A setting is wrong, or the ledger can't be read.
    """
    settings = settings_with(read_state(workspace.ledger.events).settings, arguments)
    return Campaign(workspace, screen, PROJECT, executor_of(settings))


def settings_with(before: Settings, arguments: argparse.Namespace) -> Settings:
    """The settings of a campaign that is taken up; budgets, model, the number of runs and more may be given anew.

    Args:
        before: Its settings so far.
        arguments: The command line.

    Raises:
        AgentError: A setting is wrong.
    """
    changed = {key: value for key, value in _may_change(arguments).items() if value is not None}
    if arguments.model != "auto":
        changed["model"] = choose(arguments.model).spec
    return _validated({**before.model_dump(mode="json"), **changed}) if changed else before


def take_up(campaign: Campaign, arguments: argparse.Namespace) -> None:
    """Take up a campaign with the settings that were given anew.

    Args:
        campaign: The campaign, its folder held.
        arguments: The command line.

    Raises:
        AgentError: A setting is wrong.
    """
    before = campaign.state.settings
    settings = settings_with(before, arguments)
    if settings != before:
        if settings.executor != before.executor:
            executor_of(before).forget(Host(campaign))
        campaign.record(SettingsChanged(settings=settings))
    campaign.record(Resumed())
    campaign.screen.say(f"[bold]{campaign.idea.Title}[/bold]\n  resumed in {campaign.workspace.path}")


def _may_change(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings that may be given anew when a campaign is taken up."""
    return {
        "referee": _referee(arguments),
        "max_runs": arguments.max_runs,
        "run_seconds": arguments.time_limit,
        "sandbox": False if arguments.no_sandbox else None,
        "gpus": arguments.gpus,
        "executor": arguments.executor,
        **{name: _wished(name, arguments) for name in settings_types()},
        "seeds": arguments.seeds,
        "confirm": arguments.confirm,
        "matched": arguments.matched,
        "stale_ok": arguments.stale_ok,
        "budget_usd": arguments.budget_usd,
        "budget_tokens": arguments.budget_tokens,
    }


def _referee(arguments: argparse.Namespace) -> str | None:
    """Who reads what is written, as settings have it; nothing for `none`, None where nothing is said of it."""
    if arguments.referee in (None, "none"):
        return None if arguments.referee is None else ""
    return choose(arguments.referee, option="--referee").spec


def _wished(name: str, arguments: argparse.Namespace) -> ExecutorSettings | None:
    """The settings of an executor: the file that is named, or the project's own, where there is one."""
    usual, given = PROJECT / f"{name}.toml", getattr(arguments, name)
    if given:
        return load_settings(name, given)
    return load_settings(name, usual) if arguments.executor == name and usual.is_file() else None


def _show_plan(screen: Screen, profile: Profile, settings: Settings) -> None:
    """The time that it will take, from the profile's own figures."""
    kinds, first = profile.baselines.architectures, len(profile.baselines.first_seeds)
    baselines = sum(len(profile.baselines.seeds) if kind == REFERENCE else first for kind in kinds)
    what = f"up to {settings.max_runs} runs; the first time, also the set-up and {baselines} baseline runs"
    if profile.expected is None:
        screen.say(f"  {what}; how long that takes was not measured for the profile {profile.name}")
        return
    each = profile.expected.run_seconds
    once = duration(profile.expected.setup_seconds + baselines * each)
    screen.say(f"  {what} (about {once}); a run takes about {duration(each)}, on {profile.expected.machine}")
    more = []
    if settings.matched:
        more.append(f"{first} baseline runs for each new L0 that a run reaches ({duration(first * each)}, kept)")
    if settings.seeds > 1:
        more.append(
            f"up to {settings.seeds - 1} more seeds of a promising run ({duration((settings.seeds - 1) * each)})"
        )
    if settings.confirm:
        twice = duration(2 * settings.confirm * each)
        more.append(f"{settings.confirm} seeds to confirm a run that improved, and its baseline ({twice} at most)")
    if more:
        screen.say(f"  besides, where needed: {'; '.join(more)}")


def _validated(values: dict[str, Any]) -> Settings:
    from pydantic import ValidationError

    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-") if first["loc"] else "the settings"
        said = first["msg"].removeprefix("Value error, ").lower()
        raise AgentError(f"{option}: {said}, not {first['input']!r}") from error


def _asked(
    arguments: argparse.Namespace, idea: Idea, profile: Profile
) -> tuple[tuple[str, ...] | None, dict[str, Any]]:
    """The evaluations that score a run, and what is asked of it: by the user, else the idea, else the profile.

    Raises:
        AgentError: What is asked can't be scored, or does not tell better from worse.
    """
    from lab.evals import choose as chosen

    evals = list(arguments.evals.split(",") if arguments.evals else profile.default_evals)
    scored, usual = list(chosen(evals)), profile.goals
    for name in (usual.goal, *usual.smallest, *usual.guards):
        _known_metric(name, f"{profile.path}, goals:")
    smallest = {name: value for name, value in usual.smallest.items() if name.partition(".")[0] in scored}
    goal = usual.goal if usual.goal.partition(".")[0] in scored else None
    guards: dict[str, float | None] = {
        name: value for name, value in usual.guards.items() if name.partition(".")[0] in scored
    }
    if idea.Goal and not arguments.goal:
        goal = _known_metric(idea.Goal.metric, f"{idea.Name}.json, Goal")
        smallest |= {goal: idea.Goal.smallest} if idea.Goal.smallest else {}
    if idea.Guards is not None:
        guards = {_known_metric(name, f"{idea.Name}.json, Guards"): value for name, value in idea.Guards.items()}
    if arguments.goal:
        goal, size = _metric_and_size(arguments.goal, "--goal")
        smallest |= {goal: size} if size else {}
    if arguments.guard:
        given = [] if arguments.guard == ["none"] else arguments.guard
        guards = dict(_metric_and_size(text, "--guard") for text in given)
    guards.pop(goal or "", None)
    wanted = [name.partition(".")[0] for name in (goal, *guards) if name]
    more = [name for name in dict.fromkeys(wanted) if name not in scored]
    changed = tuple(evals + more) if arguments.evals or more else None
    asked = {"goal": goal, "smallest": smallest or None, "guards": guards or None}
    return changed, {**asked, "seeds": arguments.seeds or usual.seeds}


def _metric_and_size(text: str, option: str) -> tuple[str, float | None]:
    """A metric, and the size behind its colon, where there is one."""
    name, colon, size = text.partition(":")
    metric = _known_metric(name, option)
    if not colon:
        return metric, None
    try:
        number = float(size)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise AgentError(
            f"{option} {text}: give a size above 0 in the metric's unit behind the colon, as in {name}:0.01"
        )
    return metric, number


def _known_metric(name: str, where: str) -> str:
    """A metric that an evaluation scores, and that is better one way; else it would be noticed after the baselines."""
    from lab.evals import TABLE, metrics

    evaluation = name.partition(".")[0]
    directed = [
        each
        for each, about in metrics().items()
        if each.partition(".")[0] == evaluation and about.better and about.of_sae
    ]
    if name not in directed:
        known = ", ".join(directed) or f"evaluations are {', '.join(TABLE)}"
        raise AgentError(f"{where} {name}: no evaluation scores it with a direction; there are {known}")
    return name
