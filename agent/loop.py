"""The loop: look at where the campaign stands, do the next step, write down what happened, until it is done.

Every step ends with an event in the ledger, and the next step is a pure function of those events (`agent.state`). So a
campaign that was stopped, or killed, anywhere goes on by being started again.
"""

from collections.abc import Callable

from agent.campaign import Campaign
from agent.execute.baselines import make_baselines, make_matched
from agent.execute.confirm import confirm
from agent.execute.freshness import check_freshness
from agent.execute.runs import execute, score
from agent.gates.smoke import smoke
from agent.notes import check_notes, write_notes
from agent.propose import propose
from agent.report.plots import edit_plots, make_plots
from agent.report.review import write_report
from agent.seal import broken_seals, seal_results
from agent.state import Run, Step, next_step


def run_campaign(campaign: Campaign) -> None:
    """Go on with a campaign until it is done.

    Args:
        campaign: A new one, or one that was stopped.

    Raises:
        AgentError: Something that only the user can mend; what was done is kept, and `--resume` goes on.
        KeyboardInterrupt: The user stopped it; the same holds.
    """
    check_freshness(campaign)
    while True:
        campaign.screen.check()
        step, run = next_step(campaign.state)
        if step == "done":
            return
        if run is not None:
            _ABOUT_A_RUN[step](campaign, run)
        else:
            _ABOUT_ALL[step](campaign)
        whole = step in _SHOWN
        seal_results(campaign)
        write_notes(campaign, commit=whole)
        check_notes(campaign)
        if whole:
            write_report(campaign)


def finish(campaign: Campaign) -> None:
    """Close the notes; the last event of a campaign."""
    write_notes(campaign, commit=True)
    differences = broken_seals(campaign.workspace.path, campaign.state.sealed)
    for line in differences:
        campaign.screen.say(f"  [red]{line}[/red]")
    state = campaign.state
    campaign.record("completed", runs=len(state.runs), scored=len(state.scored), differences=differences)
    write_report(campaign)


# The steps after which there is something new to review.
_SHOWN = ("baselines", "score", "match", "confirm", "plot")

_ABOUT_A_RUN: dict[Step, Callable[[Campaign, Run], None]] = {
    "propose": propose,
    "smoke": smoke,
    "execute": execute,
    "score": score,
    "match": make_matched,
}
_ABOUT_ALL: dict[Step, Callable[[Campaign], None]] = {
    "baselines": make_baselines,
    "confirm": confirm,
    "plot_edit": edit_plots,
    "plot": make_plots,
    "finish": finish,
}
