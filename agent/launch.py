"""The command line: `python -m agent.launch --idea NAME`.

Only the standard library is imported before the arguments are known to be good, so that `--help` answers at once.
"""

import argparse
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from agent.base.errors import AgentError
from agent.base.guard import guarded
from agent.base.interrupt import INTERRUPTED, Interrupt
from agent.cli.options import make_parser, with_settings

if TYPE_CHECKING:
    from agent.base.screen import Screen
    from agent.campaign.campaign import Campaign
    from agent.cli.begin import Checked

ALL = "all"


def main(argv: list[str] | None = None) -> int:
    """Run, resume or list.

    Args:
        argv: The arguments; those of the process when None.

    Returns:
        The exit code: 0 when every campaign is done, 2 for a wrong call or something only the user can mend, 3 when a
        budget stopped one, 130 when the user did.
    """
    arguments = make_parser().parse_args(argv)
    arguments.executor = arguments.executor or next(
        (name for name in with_settings() if getattr(arguments, name)), None
    )
    try:
        if arguments.list:
            return _list(arguments.ideas)
        return _launch(arguments)
    except AgentError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("stopped by the user before anything was run\n")
        return INTERRUPTED


def _launch(arguments: argparse.Namespace) -> int:
    from agent.campaign.workspace import Workspace
    from agent.cli.begin import begin, reopen
    from lab.errors import LabError

    if arguments.idea and arguments.resume:
        raise AgentError("give ideas to begin with, or folders to --resume, not both")
    interrupt = Interrupt()
    try:
        if arguments.resume:
            workspaces = [Workspace(path) for path in _stopped_ones(arguments)]
            screens = _screens(arguments, [workspace.path.name for workspace in workspaces], interrupt)
            campaigns = [reopen(*one, arguments) for one in zip(workspaces, screens, strict=True)]
        else:
            names = _names(arguments)
            ready = [_checked(arguments, name, len(names) > 1) for name in names]
            campaigns = begin(ready, arguments.runs, _screens(arguments, names, interrupt))
        interrupt.listen()
        if len(campaigns) == 1:
            return _go_on(campaigns[0], arguments)
        return _side_by_side(campaigns, arguments, interrupt)
    except LabError as error:
        raise AgentError(str(error)) from error


def _names(arguments: argparse.Namespace) -> list[str]:
    """The ideas to begin with."""
    from agent.idea import list_ideas

    if not arguments.idea:
        raise AgentError("no idea was named: give --idea NAME, or --list to see them")
    names = list_ideas(arguments.ideas) if ALL in arguments.idea else arguments.idea
    if not names:
        raise AgentError(f"there are no ideas in {arguments.ideas}; write one there")
    return list(names)


def _checked(arguments: argparse.Namespace, name: str, one_of_many: bool) -> "Checked":
    """An idea that can begin; of several it is said which can't."""
    from agent.cli.begin import check

    try:
        return check(arguments, name)
    except AgentError as error:
        raise AgentError(f"{name}: {error}" if one_of_many else str(error)) from error


def _stopped_ones(arguments: argparse.Namespace) -> list[Path]:
    """The folders of the campaigns to go on with; `all` means those that are not done."""
    if Path(ALL) not in arguments.resume:
        return list(arguments.resume)
    from agent.campaign.history import read_state
    from agent.campaign.ledger import Ledger

    found = []
    for path in sorted(arguments.runs.glob("*/ledger.jsonl")):
        try:
            if not read_state(Ledger(path).events).completed:
                found.append(path.parent)
        except AgentError as error:
            sys.stderr.write(f"warning: {path.parent} is left out: {error}\n")
    if not found:
        raise AgentError(f"no campaign in {arguments.runs} is left to go on with")
    return found


def _screens(arguments: argparse.Namespace, names: list[str], interrupt: "Interrupt") -> list["Screen"]:
    """The screen of each campaign; where there are several, each line says of which."""
    from agent.base.screen import Screen, Style

    style: Style = "json" if arguments.json else "quiet" if arguments.quiet else "rich"
    return [Screen(style, interrupt.check, name if len(names) > 1 else "") for name in names]


def _go_on(campaign: "Campaign", arguments: argparse.Namespace) -> int:
    """Go on with a campaign until it is done or stopped.

    Raises:
        AgentError: Something that only the user can mend.
    """
    from agent.campaign.events import SandboxChosen, Stopped
    from agent.cli.begin import take_up
    from agent.loop import run_campaign
    from agent.models.base import BudgetExceeded
    from lab.errors import LabError

    with campaign.workspace.lock():
        if arguments.resume:
            take_up(campaign, arguments)
        campaign.record(SandboxChosen(way=campaign.sandbox.way, said=campaign.sandbox.said))
        campaign.screen.say(f"  {campaign.sandbox.said}")
        if not campaign.settings.sandbox:
            campaign.screen.complain(f"warning: {campaign.sandbox.said}")
        try:
            run_campaign(campaign)
        except KeyboardInterrupt:
            return _stopped(campaign, "stopped by the user", INTERRUPTED)
        except BudgetExceeded as error:
            return _stopped(campaign, str(error), 3)
        except (AgentError, LabError, OSError) as error:
            said = _said(error, campaign)
            with suppress(AgentError):  # the disk that stopped it may have no room for this either
                campaign.record(Stopped(reason=said))
            raise AgentError(f"{said} (resume with: {_resume_command(campaign)})") from error
        _show_end(campaign)
    return 0


def _side_by_side(campaigns: list["Campaign"], arguments: argparse.Namespace, interrupt: "Interrupt") -> int:
    """Go on with several campaigns; one that is stopped does not stop the others."""
    from agent.cli.begin import settings_with
    from agent.cli.side_by_side import UNEXPECTED, places, run_together, share_cores
    from agent.models import Budget
    from lab.errors import LabError

    resumed = bool(arguments.resume)
    settings = [settings_with(one.settings, arguments) if resumed else one.settings for one in campaigns]
    budgets: dict[tuple[str, ...], Budget] = {}
    for campaign, chosen in zip(campaigns, settings, strict=True):
        if chosen.together and chosen.together not in budgets:
            budgets[chosen.together] = campaign.budget_with(chosen)
        campaign.budget = budgets.get(chosen.together)
    here = places([(campaign.executor, chosen.gpus) for campaign, chosen in zip(campaigns, settings, strict=True)])
    jobs = min(arguments.jobs or here or len(campaigns), len(campaigns))
    if here:
        share_cores(jobs)
    campaigns[0].screen.say_of_all(f"{len(campaigns)} campaigns, {jobs} at a time")

    def run(campaign: "Campaign") -> int:
        try:
            return _go_on(campaign, arguments)
        except (AgentError, LabError) as error:
            campaign.screen.complain(f"error: {error}")
            return 2

    try:
        codes = run_together(campaigns, jobs, run, interrupt)
    except KeyboardInterrupt:
        sys.stderr.write("stopped by the user; each campaign is kept, and goes on with --resume and its folder\n")
        return INTERRUPTED
    _show_all(campaigns, codes)
    return next((code for code in (UNEXPECTED, 2, 3, INTERRUPTED) if code in codes), 0)


def _stopped(campaign: "Campaign", reason: str, code: int) -> int:
    from agent.campaign.events import Stopped

    campaign.record(Stopped(reason=reason))
    campaign.screen.complain(f"{reason}; everything so far is kept. Go on with: {_resume_command(campaign)}")
    return code


def _said(error: Exception, campaign: "Campaign") -> str:
    """An error in one line, with what to do."""
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
    figures = list(state.figures or {})
    campaign.screen.result(
        f"  report {path / 'report.html'}\n  notes {path / 'notes.txt'}\n"
        f"  figures {path / 'figures'} ({len(figures)})\n  changes git -C {path} log -p",
        {"workspace": str(path), "runs": len(state.runs), "scored": len(state.scored), "figures": figures},
    )


def _show_all(campaigns: list["Campaign"], codes: list[int]) -> None:
    """A line for each of several campaigns, and the page that leads to them."""
    from agent.report.review import write_index

    words = {0: "done", 3: "stopped by its budget", INTERRUPTED: "stopped by the user"}
    rows = []
    for campaign, code in zip(campaigns, codes, strict=True):
        state = campaign.state
        best = campaign.best(state.scored) if state.scored else None
        row = best.row(campaign.goal) if best else None
        told = f"{best.run.name}: {row.metric} {row.verdict}" if best and row else "none is comparable"
        rows.append([campaign.idea.Name, words.get(code, "stopped by an error"), str(len(state.scored)), told])
    columns = ["idea", "campaign", "runs scored", "best run"]
    screen = campaigns[0].screen
    screen.table("All campaigns", columns, rows)
    page = write_index(campaigns[0].workspace.path.parent)
    outcomes = [dict(zip(columns, row, strict=True)) for row in rows]
    screen.result(f"  all {page}", {"campaigns": outcomes, "index": str(page)}, of_all=True)


def _list(folder: Path) -> int:
    from agent.idea import list_ideas, load_idea

    if not folder.is_dir():
        raise AgentError(f"there is no folder of ideas at {folder}")
    for name in list_ideas(folder):
        sys.stdout.write(f"{name}\n    {load_idea(name, folder).Title}\n")
    return 0


def command() -> int:
    """The command of a shell, `sae-scientist`: the command line with its keys kept."""
    return guarded(main)


if __name__ == "__main__":
    sys.exit(command())
