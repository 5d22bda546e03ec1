"""The command line: `python -m agent.launch --idea NAME`.

Only the standard library is imported before the arguments are known to be good, so that `--help` answers at once.
"""

import argparse
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.errors import AgentError

if TYPE_CHECKING:
    from agent.campaign import Campaign
    from agent.screen import Screen
    from agent.settings import Settings
    from agent.workspace import Workspace
    from lab.settings import Profile

ROOT = Path(__file__).resolve().parent.parent
INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Run, resume or list.

    Args:
        argv: The arguments; those of the process when None.

    Returns:
        The exit code: 0 when the campaign is done, 2 for a wrong call or something only the user can mend, 3 when a
        budget stopped it, 130 when the user did.
    """
    arguments = _parser().parse_args(argv)
    try:
        if arguments.list:
            return _list(arguments.ideas)
        return _launch(arguments)
    except AgentError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2


def _launch(arguments: argparse.Namespace) -> int:
    from agent.campaign import Campaign
    from agent.interrupt import Interrupt
    from agent.loop import run_campaign
    from agent.models.base import BudgetExceeded
    from agent.screen import Screen, Style
    from agent.workspace import Workspace
    from lab.errors import LabError

    interrupt = Interrupt()
    style: Style = "json" if arguments.json else "quiet" if arguments.quiet else "rich"
    screen = Screen(style, interrupt.check)
    try:
        workspace = Workspace(arguments.resume) if arguments.resume else _new(arguments, screen)
        campaign = Campaign(workspace, screen, ROOT)
        with workspace.lock():
            if arguments.resume:
                _resume(campaign, arguments)
            interrupt.listen()
            campaign.record("sandbox", way=campaign.sandbox.way, said=campaign.sandbox.said)
            screen.say(f"  {campaign.sandbox.said}")
            if not campaign.settings.sandbox:
                sys.stderr.write(f"warning: {campaign.sandbox.said}\n")
            try:
                run_campaign(campaign)
            except KeyboardInterrupt:
                return _stopped(campaign, "stopped by the user", INTERRUPTED)
            except BudgetExceeded as error:
                return _stopped(campaign, str(error), 3)
            except (AgentError, LabError, OSError) as error:
                said = _said(error, campaign)
                with suppress(AgentError):  # the disk that stopped it may have no room for this either
                    campaign.record("stopped", reason=said)
                raise AgentError(f"{said} (resume with: {_resume_command(campaign)})") from error
            _show_end(campaign)
        return 0
    except LabError as error:
        raise AgentError(str(error)) from error


def _new(arguments: argparse.Namespace, screen: "Screen") -> "Workspace":
    """Check everything that can be wrong, then make the workspace."""
    from agent.execute.sandbox import choose_sandbox
    from agent.idea import load_idea
    from agent.models import choose
    from agent.workspace import Workspace
    from lab.settings import load_profile

    if not arguments.idea:
        raise AgentError("no idea was named: give --idea NAME, or --list to see them")
    idea = load_idea(arguments.idea, arguments.ideas)
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
        from agent.editors.aider import find_aider

        find_aider()
    choose_sandbox(not arguments.no_sandbox)
    if arguments.goal:
        _check_goal(arguments.goal, arguments.evals.split(",") if arguments.evals else profile.default_evals)
    settings = _settings(arguments, _spec(choice.provider, choice.name, choice.base_url), str(profile.path))
    workspace = Workspace.create(idea, settings.model_dump(mode="json"), arguments.runs)
    screen.say(f"[bold]{idea.Title}[/bold]")
    screen.say(f"  {choice.said}")
    screen.say(f"  workspace {workspace.path}")
    _show_plan(screen, profile, settings)
    return workspace


def _show_plan(screen: "Screen", profile: "Profile", settings: "Settings") -> None:
    """How long it will take, from the profile's own figures."""
    from agent.screen import duration

    baselines = len(profile.baselines.architectures) * len(profile.baselines.seeds)
    what = f"up to {settings.max_runs} runs; the first time, also the set-up and {baselines} baseline runs"
    if profile.expected is None:
        screen.say(f"  {what}; how long that takes was not measured for the profile {profile.name}")
        return
    each = profile.expected.run_seconds
    first = duration(profile.expected.setup_seconds + baselines * each)
    screen.say(f"  {what} (about {first}); a run takes about {duration(each)}, on {profile.expected.machine}")
    seeds, more = len(profile.baselines.seeds), []
    if settings.matched:
        more.append(f"{seeds} baseline runs for each new L0 that a run reaches ({duration(seeds * each)}, kept)")
    if settings.confirm:
        twice = duration(2 * settings.confirm * each)
        more.append(f"{settings.confirm} seeds to confirm a run that improved, and its baseline ({twice} at most)")
    if more:
        screen.say(f"  besides, where needed: {'; '.join(more)}")


def _settings(arguments: argparse.Namespace, model: str, profile: str) -> "Settings":
    given = {
        "profile": profile,
        "model": model,
        "editor": arguments.editor,
        "max_runs": arguments.max_runs,
        "run_seconds": arguments.time_limit,
        "evals": tuple(arguments.evals.split(",")) if arguments.evals else None,
        "device": arguments.device,
        "sandbox": False if arguments.no_sandbox else None,
        "goal": arguments.goal,
        "confirm": arguments.confirm,
        "matched": arguments.matched,
        "stale_ok": arguments.stale_ok,
        "budget_usd": arguments.budget_usd,
        "budget_tokens": arguments.budget_tokens,
    }
    return _validated({key: value for key, value in given.items() if value is not None})


def _validated(values: dict[str, Any]) -> "Settings":
    from pydantic import ValidationError

    from agent.settings import Settings

    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-") if first["loc"] else "the settings"
        said = first["msg"].removeprefix("Value error, ").lower()
        raise AgentError(f"{option}: {said}, not {first['input']!r}") from error


def _check_goal(goal: str, evals: Iterable[str]) -> None:
    """A metric that nothing scores would be noticed only after the baselines."""
    from lab.evals import choose, load

    known = [
        f"{name}.{metric}" for name in choose(evals) for metric, about in load(name).METRICS.items() if about.better
    ]
    if goal not in known:
        raise AgentError(f"--goal {goal}: no evaluation scores it with a direction; there are {', '.join(known)}")


def _spec(provider: str, name: str, base_url: str) -> str:
    return f"{provider}:{Path(name).resolve() if provider == 'replay' else name}" + (f"@{base_url}" if base_url else "")


def _resume(campaign: "Campaign", arguments: argparse.Namespace) -> None:
    """Take up a campaign; budgets, model, the number of runs and how it is closed may be given anew."""
    state = campaign.state
    changed = {
        "max_runs": arguments.max_runs,
        "budget_usd": arguments.budget_usd,
        "budget_tokens": arguments.budget_tokens,
        "run_seconds": arguments.time_limit,
        "sandbox": False if arguments.no_sandbox else None,
        "confirm": arguments.confirm,
        "matched": arguments.matched,
        "stale_ok": arguments.stale_ok,
    }
    changed = {key: value for key, value in changed.items() if value is not None}
    if arguments.model != "auto":
        from agent.models import choose

        choice = choose(arguments.model)
        changed["model"] = _spec(choice.provider, choice.name, choice.base_url)
    if changed:
        settings = _validated({**state.settings.model_dump(mode="json"), **changed})
        campaign.record("settings", settings=settings.model_dump(mode="json"))
    campaign.record("resumed")
    campaign.screen.say(f"[bold]{campaign.idea.Title}[/bold]\n  resumed in {campaign.workspace.path}")


def _stopped(campaign: "Campaign", reason: str, code: int) -> int:
    campaign.record("stopped", reason=reason)
    sys.stderr.write(f"{reason}; everything so far is kept. Go on with: {_resume_command(campaign)}\n")
    return code


def _said(error: Exception, campaign: "Campaign") -> str:
    """What went wrong, in one line, with what to do."""
    if isinstance(error, OSError):
        where = error.filename or campaign.workspace.path
        return f"{error.strerror or error}: {where}; free the space or fix the rights"
    return str(error)


def _resume_command(campaign: "Campaign") -> str:
    return f"python -m agent.launch --resume {campaign.workspace.path}"


def _show_end(campaign: "Campaign") -> None:
    from agent.report.tables import run_table

    state = campaign.state
    path = campaign.workspace.path
    columns, rows = run_table(campaign, state.runs)
    campaign.screen.table(campaign.idea.Title, columns, rows)
    if campaign.settings.model.startswith("replay:"):
        campaign.screen.say("  The replies were scripted; the numbers were measured here.")
    figures = list((state.figures or {}).get("figures", {}))
    campaign.screen.result(
        f"  report {path / 'report.html'}\n  notes {path / 'notes.txt'}\n"
        f"  figures {path / 'figures'} ({len(figures)})\n  changes git -C {path} log -p",
        {"workspace": str(path), "runs": len(state.runs), "scored": len(state.scored), "figures": figures},
    )


def _list(folder: Path) -> int:
    from agent.idea import list_ideas, load_idea

    for name in list_ideas(folder):
        sys.stdout.write(f"{name}\n    {load_idea(name, folder).Title}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m agent.launch",
        description="Have a language model try an idea for a sparse autoencoder: edit, gate, run, score, record.",
    )
    parser.add_argument("--idea", metavar="NAME", help="an idea of the ideas folder, without .json")
    parser.add_argument("--list", action="store_true", help="show the ideas and stop")
    parser.add_argument("--resume", type=Path, metavar="RUN_DIR", help="go on with a campaign that was stopped")
    parser.add_argument(
        "--model",
        default="auto",
        help="anthropic:NAME, openai:NAME, openai:NAME@BASE_URL, replay:PATH, script (the idea's own script), or auto "
        "(default): Anthropic if its key is set, else OpenAI if its key is set, else the script",
    )
    parser.add_argument(
        "--profile", default="smollm2", help="a bundled profile or the path of a .toml (default: smollm2)"
    )
    parser.add_argument("--editor", default="blocks", choices=("blocks", "aider"), help="who applies the edits")
    parser.add_argument("--max-runs", type=int, metavar="N", help="the most runs (default: 10)")
    parser.add_argument("--evals", metavar="LIST", help="evaluations, with commas (default: the profile's)")
    parser.add_argument("--device", help="cpu or cuda (default: a GPU where there is one)")
    parser.add_argument("--time-limit", type=float, metavar="SECONDS", help="for one run (default: the profile's)")
    parser.add_argument(
        "--no-sandbox", action="store_true", help="run what the model writes with all your rights (not advised)"
    )
    parser.add_argument(
        "--goal", metavar="METRIC", help="by which one run is better (default: core.explained_variance)"
    )
    parser.add_argument(
        "--confirm", type=int, metavar="N", help="fresh seeds for the run that improved most (default: 3; 0: none)"
    )
    parser.add_argument(
        "--matched",
        action=argparse.BooleanOptionalAction,
        help="train a baseline at the L0 of a run that reached another one; without, it gets no verdict (default: yes)",
    )
    parser.add_argument(
        "--stale-ok",
        action=argparse.BooleanOptionalAction,
        help="go on with baselines that something changed since, without verdicts; else they are made again",
    )
    parser.add_argument("--budget-usd", type=float, metavar="USD", help="stop before a call once this much is spent")
    parser.add_argument("--budget-tokens", type=int, metavar="N", help="stop before a call once this many are used")
    parser.add_argument("--ideas", type=Path, default=ROOT / "ideas", help="the folder of ideas")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="the folder that campaigns are made in")
    style = parser.add_mutually_exclusive_group()
    style.add_argument("--quiet", action="store_true", help="only the result and errors")
    style.add_argument("--json", action="store_true", help="one JSON object a line on standard output")
    return parser


if __name__ == "__main__":
    sys.exit(main())
