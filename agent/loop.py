"""The loop: look at where the campaign stands, do the next step, write down what happened, until it is done.

Every step ends with an event in the ledger, and the next step is a pure function of those events
(`agent.campaign.state`). So a campaign that was stopped, or killed, anywhere goes on by being started again.
"""

from collections.abc import Callable

from agent.campaign.campaign import Campaign
from agent.campaign.hashes import broken_seals, seal_results
from agent.campaign.ledger import Event
from agent.campaign.recovery import recover
from agent.campaign.state import Run, Step, next_step, worn_out
from agent.report.notes import check_notes, write_notes
from agent.report.review import write_report
from agent.steps.baselines import make_baselines, make_matched
from agent.steps.confirm import confirm
from agent.steps.figures import edit_plots, make_plots
from agent.steps.freshness import check_freshness
from agent.steps.propose import propose
from agent.steps.runs import execute, score
from agent.steps.smoke import smoke


def run_campaign(campaign: Campaign) -> None:
    """Go on with a campaign until it is done.

    Args:
        campaign: A new one, or one that was stopped.

    Raises:
        AgentError: Something that only the user can mend; what was done is kept, and `--resume` goes on.
        KeyboardInterrupt: The user stopped it; the same holds.
    """
    recover(campaign)
    check_freshness(campaign)
    # A launcher that was killed may have had no time for it.
    settle(campaign)
    while True:
        campaign.screen.check()
        step, run = next_step(campaign.state)
        if step == "done":
            write_report(campaign)
            return
        if run is not None:
            _ABOUT_A_RUN[step](campaign, run)
        else:
            _ABOUT_ALL[step](campaign)
        settle(campaign)


def settle(campaign: Campaign) -> None:
    """What follows from the newest events, whoever wrote them: done again it changes nothing.

    Args:
        campaign: One with no step under way.
    """
    run = campaign.state.open_run
    if run and (reason := worn_out(run, campaign.settings)):
        campaign.record("given_up", run=run.number, reason=reason)
    news = any(map(_is_news, campaign.workspace.ledger.events[campaign.workspace.noted :]))
    if news:
        seal_results(campaign)
    write_notes(campaign, commit=news)
    check_notes(campaign)
    if news:
        write_report(campaign)


def finish(campaign: Campaign) -> None:
    """Compare all with their hashes; the last event of a campaign."""
    differences = broken_seals(campaign.workspace.path, campaign.state.sealed)
    for line in differences:
        campaign.screen.say(f"  [red]{line}[/red]")
    state = campaign.state
    campaign.record("completed", runs=len(state.runs), scored=len(state.scored), differences=differences)


def _is_news(event: Event) -> bool:
    """Whether there is something new to review after an event: the notes are committed then."""
    return event.kind in _NEWS or (event.kind == "confirming" and event.data["run"] is None)


_NEWS = ("baselines", "scored", "failed", "given_up", "matched", "confirmed", "plotted")

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
