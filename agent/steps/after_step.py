"""The consequences of a step: runs given up, hashes taken, notes and report written and committed."""

from agent.base.files import write_atomically
from agent.campaign.campaign import Campaign
from agent.campaign.events import (
    BaselinesMade,
    Confirmed,
    Confirming,
    Event,
    Failed,
    GivenUp,
    Matched,
    Plotted,
    Refereed,
    Scored,
)
from agent.campaign.hashes import record_hashes
from agent.campaign.repeats import Looked
from agent.campaign.state import Run, attempts_exhausted
from agent.report.notes import NAME, check_notes, notes_text
from agent.report.review import write_report

_NEWS = (BaselinesMade, Scored, Failed, GivenUp, Matched, Looked, Refereed, Confirmed, Plotted)


def after_step(campaign: Campaign) -> None:
    """Do what follows from the newest events, whoever wrote them; done again it changes nothing.

    Args:
        campaign: One with no step under way.
    """
    run = campaign.state.open_run
    if run and (reason := attempts_exhausted(run, campaign.settings)):
        campaign.record(GivenUp(run=run.number, reason=reason))
    news = any(map(_is_news, campaign.events[campaign.workspace.noted :]))
    if news:
        record_hashes(campaign)
    write_notes(campaign, commit=news)
    if news:
        write_report(campaign)


def write_notes(campaign: Campaign, commit: bool) -> None:
    """Write the notes anew and see that they hold everything; none before there are baselines.

    Args:
        campaign: The campaign.
        commit: Whether the workspace is committed with them.

    Raises:
        AgentError: Something that the ledger has is not in them.
    """
    if campaign.state.baselines is None:
        return
    write_atomically(campaign.workspace.path / NAME, notes_text(campaign))
    check_notes(campaign)
    if commit:
        state = campaign.state
        newest = state.runs[-1] if state.runs else None
        about = f"{newest.name}: {_newest(newest)}" if newest else "Baselines"
        closed = state.confirmation is not None and state.confirmation.closed
        campaign.workspace.commit_notes("figures" if state.figures else "confirmation" if closed else about)


def _newest(run: Run) -> str:
    if run.last and run.last.refereed:
        return "read by the referee"
    if run.last and (look := run.last.look):
        if look.wanted > look.seeds:
            return f"gets {look.wanted} seeds"
        return "judged by 1 seed" if look.seeds == 1 else f"judged by {look.seeds} seeds"
    return "matched" if run.last and run.last.matched else run.status


def _is_news(event: Event) -> bool:
    """Tell whether there is something new to review after an event: the notes are committed then."""
    return isinstance(event, _NEWS) or (isinstance(event, Confirming) and event.run is None)
