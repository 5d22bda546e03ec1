"""Figures: the model may label its runs in `plot.py`, the loop makes the figures and checks that they are there."""

import json
import sys
from pathlib import Path

from agent.campaign import Campaign
from agent.errors import AgentError
from agent.execute.local import run, tail
from agent.execute.runs import FEEDBACK
from agent.execute.surroundings import environment
from agent.gates.protect import breaches, explain
from agent.prompt import plot_prompt
from agent.propose import refuse, unknown_references
from agent.state import Refusal, exhausted
from agent.turn import Question, take_turn
from agent.workspace import PLOT

PNG = b"\x89PNG\r\n\x1a\n"


def edit_plots(campaign: Campaign) -> None:
    """Ask for the closing analysis and for edits of `plot.py`; after too many failures the last good one is used.

    Args:
        campaign: The campaign, its runs done.
    """
    state = campaign.state
    commit = campaign.workspace.head
    if not state.scored:
        campaign.record("plot_edited", commit=commit, analysis="", call=state.calls)
        return
    spent = exhausted(state.plot_refusals, campaign.settings)
    if spent or len(state.plot_failures) >= campaign.settings.attempts:
        campaign.workspace.restore(state.template, (PLOT,))
        commit = campaign.workspace.commit("plot.py as the template has it: its edits failed")
        campaign.record("plot_edited", commit=commit, analysis="", call=state.calls)
        return
    system, prompt = plot_prompt(campaign)
    said = state.plot_refusals[-1].said if state.plot_refusals else {}
    turn = take_turn(
        campaign,
        Question(
            system=system,
            prompt=prompt,
            purpose="plots",
            editable=(PLOT,),
            refusals=state.plot_refusals,
            said=said,
            problem=lambda parts: unknown_references(campaign, parts),
        ),
    )
    held = state.plot_refusals[-1].held if state.plot_refusals else []
    # An answer without edits is whole: the analysis may be all there is to say.
    if turn.refusal and (turn.parts.has_edits or held or turn.refusal.kind == "shape"):
        refuse(campaign, None, turn, turn.refusal)
        return
    if found := breaches(campaign.workspace.read(PLOT), plots=True):
        campaign.workspace.restore("HEAD")
        refuse(campaign, None, turn, Refusal("protected", explain(PLOT, found)))
        return
    commit = campaign.workspace.commit(f"Plots: {turn.parts.change or 'labels'}")
    campaign.record("plot_edited", commit=commit, analysis=turn.parts.analysis, call=turn.reply.call)


def make_plots(campaign: Campaign) -> None:
    """Run `plot.py` and check what it made.

    Args:
        campaign: The campaign.

    Raises:
        AgentError: The template's own `plot.py` failed.
    """
    state = campaign.state
    folder = campaign.workspace.path / "figures"
    log = campaign.workspace.path / "run_0" / "plots.log"
    log.unlink(missing_ok=True)
    limit = campaign.profile.limits.plot_seconds
    with campaign.screen.step("figures", expected=10) as tick:
        env = environment(campaign)
        result = run([sys.executable, PLOT], cwd=campaign.workspace.path, env=env, log=log, seconds=limit, tick=tick)
    problem = "" if result.ok else result.reason(limit)
    figures: dict[str, str] = {}
    if not problem:
        try:
            figures = check_figures(folder)
        except AgentError as error:
            problem = str(error)
    if problem:
        output = tail(log, FEEDBACK)
        if len(state.plot_failures) >= campaign.settings.attempts:
            raise AgentError(f"plot.py failed: {problem}; its output is in {log}; mend it there and resume")
        campaign.record("plot_failed", reason=problem, output=output)
        return
    campaign.record("plotted", figures=figures)


def check_figures(folder: Path) -> dict[str, str]:
    """The figures that `plot.py` says it made, each checked to be there.

    Args:
        folder: Where it put them, with `figures.json` (file name to description).

    Returns:
        File names and descriptions.

    Raises:
        AgentError: The list or a figure is missing or empty.
    """
    listing = folder / "figures.json"
    try:
        figures: dict[str, str] = json.loads(listing.read_text())
    except FileNotFoundError as error:
        raise AgentError("plot.py wrote no figures/figures.json, the list of its figures") from error
    except json.JSONDecodeError as error:
        raise AgentError(f"figures/figures.json is not JSON: {error}") from error
    if not figures:
        raise AgentError("plot.py made no figure")
    for name in figures:
        path = folder / Path(name).name
        if not path.is_file() or path.stat().st_size < 1000 or not path.read_bytes().startswith(PNG):
            raise AgentError(f"the figure figures/{name} that plot.py lists is missing, empty or no PNG")
    return figures
