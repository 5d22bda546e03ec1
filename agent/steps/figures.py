"""Figures: the model may label its runs in `plot.py`, the loop makes the figures and checks that they are there."""

import json
from pathlib import Path
from typing import Any

from agent.audit.evidence import gather
from agent.audit.said import faults_of_captions, without_claims
from agent.base.errors import AgentError
from agent.campaign.campaign import Campaign
from agent.campaign.events import PlotEdited, PlotFailed, Plotted
from agent.campaign.folder import PLOT
from agent.campaign.state import Refusal, exhausted
from agent.compute.commands import lab_command
from agent.compute.local import tail
from agent.dialogue.prompt import plot_prompt
from agent.dialogue.reply import ReplyParts
from agent.dialogue.turn import Question, take_turn
from agent.gates.protect import breaches, explain
from agent.steps.failures import FEEDBACK, on_disk
from agent.steps.jobs import environment, run_contained
from agent.steps.propose import PATIENCE, refuse, unborne, unknown_references

DRAWN = ".drawn.json"
PNG = b"\x89PNG\r\n\x1a\n"


def edit_plots(campaign: Campaign) -> None:
    """Ask for the closing analysis and for edits of `plot.py`; after too many failures the last good one is used.

    Args:
        campaign: The campaign, its runs done.
    """
    state = campaign.state
    commit = campaign.workspace.head
    if not state.scored:
        campaign.record(PlotEdited(commit=commit, analysis="", call=state.calls))
        return
    spent = exhausted(state.plot_refusals, campaign.settings)
    if spent or len(state.plot_failures) >= campaign.settings.attempts:
        campaign.workspace.restore(state.template, (PLOT,))
        commit = campaign.workspace.commit("plot.py as the template has it: its edits failed")
        campaign.record(PlotEdited(commit=commit, analysis="", call=state.calls))
        return
    # An edit that a launcher made and had no time to record is made again, from the same start.
    campaign.workspace.restore(state.plots or state.template, (PLOT,))
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
            problem=lambda parts: _refuted(campaign, parts),
        ),
    )
    pending = state.plot_refusals[-1].pending if state.plot_refusals else []
    # An answer without edits is whole: the analysis may be all there is to say.
    if turn.refusal and (turn.parts.has_edits or pending or turn.refusal.kind == "shape"):
        refuse(campaign, None, turn, turn.refusal)
        return
    if found := breaches(campaign.workspace.read(PLOT), plots=True):
        campaign.workspace.restore("HEAD")
        refuse(campaign, None, turn, Refusal("protected", explain(PLOT, found)))
        return
    change = without_claims(turn.parts.change, gather(campaign, unscored=False)) or "labels"
    commit = campaign.workspace.commit(f"Plots: {change}")
    analysis = "" if unborne(campaign, turn.parts) else turn.parts.analysis
    campaign.record(PlotEdited(commit=commit, analysis=analysis, call=turn.reply.call))


def _refuted(campaign: Campaign, parts: ReplyParts) -> str:
    """The claims of a closing analysis that no result bears out; said so often, then the analysis is left out."""
    problem = unknown_references(campaign, parts)
    return problem or ("" if len(campaign.state.plot_refusals) >= PATIENCE else unborne(campaign, parts))


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
        result = run_contained(
            campaign,
            lab_command("lab.drawn", "--report", str(folder / DRAWN), PLOT),
            label="figures",
            cwd=campaign.workspace.path,
            env=env,
            log=log,
            seconds=limit,
            readable=[campaign.workspace.path / PLOT, *campaign.workspace.path.glob("run_*")],
            writable=[folder],
            empty=[folder],
            gpu=False,
            tick=tick,
        )
    problem = "" if on_disk(campaign, result, [folder], "figures").ok else result.reason(limit)
    figures: dict[str, str] = {}
    if not problem:
        try:
            figures = check_figures(folder)
            if unborne_captions := faults_of_captions(figures, gather(campaign, unscored=False)):
                raise AgentError(f"results do not bear out a figure's description: {'; '.join(unborne_captions)}")
        except AgentError as error:
            problem = str(error)
    if problem:
        output = tail(log, FEEDBACK)
        if len(state.plot_failures) >= campaign.settings.attempts:
            raise AgentError(f"plot.py failed: {problem}; its output is in {log}; mend it there and resume")
        campaign.record(PlotFailed(reason=problem, output=output))
        return
    campaign.record(Plotted(figures=figures))


def check_figures(folder: Path) -> dict[str, str]:
    """The figures that `plot.py` says it made, each checked to be there and to be readable.

    Args:
        folder: Where it put them, with `figures.json` (file name to description) and what `lab.drawn` saw.

    Returns:
        File names and descriptions.

    Raises:
        AgentError: The list or a figure is missing or empty, a figure has no data beside it, or an axis no label.
    """
    figures = _listing(folder / "figures.json", "the list of its figures")
    drawn = _listing(folder / DRAWN, "what was seen of it")
    if not figures:
        raise AgentError("plot.py made no figure")
    for name in figures:
        path = folder / Path(name).name
        if not path.is_file() or path.stat().st_size < 1000 or not path.read_bytes().startswith(PNG):
            raise AgentError(f"the figure figures/{name} that plot.py lists is missing, empty or no PNG")
        if lines := drawn.get(path.name, ["it was not saved by matplotlib's savefig"]):
            raise AgentError(f"the figure figures/{name} can't be read: {'; '.join(map(str, lines))}")
        data = path.with_suffix(".csv")
        if not data.is_file() or len(data.read_text(encoding="utf-8", errors="replace").splitlines()) < 2:
            raise AgentError(f"the figure figures/{name} has no data beside it: save them as figures/{data.name}")
    return {str(name): str(description) for name, description in figures.items()}


def _listing(path: Path, what: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AgentError(f"plot.py left no figures/{path.name}, {what}") from error
    except ValueError as error:
        raise AgentError(f"figures/{path.name} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise AgentError(f"figures/{path.name} is no JSON object")
    return found
