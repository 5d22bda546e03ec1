"""What the model is asked: built afresh from the state at every turn, so that turn ten costs what turn one did."""

from agent.base.texts import render
from agent.campaign.campaign import Campaign
from agent.campaign.state import Run
from agent.campaign.workspace import EXPERIMENT, PLOT
from agent.report.closing import chance_text, confirmation_text
from agent.report.judged import goal
from agent.report.tables import baseline_detail, detail, one_line_table

ARROWS = "(+) higher is better, (-) lower is better, ~ within noise; baselines are means over seeds"
REPLY_SHOWN = 6000


def turn_prompt(campaign: Campaign, this: Run) -> tuple[str, str]:
    """The question for a run's next edit.

    Args:
        campaign: The campaign.
        this: The run; its refusals and failures say what the question is.

    Returns:
        The fixed part, the same in every turn of a campaign, and the part of this turn.
    """
    state = campaign.state
    settings = campaign.settings
    scored = [run for run in state.scored if run.number < this.number]
    before = state.runs[this.number - 2] if this.number > 1 else None
    prompt = render(
        "agent.dialogue",
        "prompts/turn.md.j2",
        number=this.number,
        max_runs=settings.max_runs,
        attempts=settings.attempts,
        arrows=ARROWS,
        table=one_line_table(campaign, [run for run in state.runs if run.number < this.number]),
        last=detail(campaign, scored[-1]) if scored else "",
        baselines="" if scored else baseline_detail(campaign),
        code=campaign.workspace.read(EXPERIMENT),
        feedback=this.refusals[-1].feedback if this.refusals else "",
        reply=this.refusals[-1].reply[:REPLY_SHOWN] if this.refusals else "",
        started=this.started,
        failure=this.last.failure if this.last else None,
        remarks=before.last.remarks if before and before.last else "",
        given_up=before.given_up if before else "",
    )
    return system_prompt(campaign), prompt


def plot_prompt(campaign: Campaign) -> tuple[str, str]:
    """The question that closes a campaign: its analysis, and edits of the plots."""
    state = campaign.state
    prompt = render(
        "agent.dialogue",
        "prompts/plots.md.j2",
        arrows=ARROWS,
        table=one_line_table(campaign, state.runs),
        # No turn came after the last run, so nobody was asked about it.
        last=detail(campaign, state.scored[-1]) if state.scored and not state.ended else "",
        confirmation="\n\n".join(confirmation_text(campaign)),
        chance=chance_text(campaign),
        code=campaign.workspace.read(PLOT),
        feedback=state.plot_refusals[-1].feedback if state.plot_refusals else "",
        failure=state.plot_failures[-1] if state.plot_failures else None,
    )
    return system_prompt(campaign), prompt


def system_prompt(campaign: Campaign) -> str:
    """The fixed part: the idea, the rules and the shape of a reply."""
    seconds = [run.training.get("seconds") for group in campaign.baselines.values() for run in group.runs]
    known = [float(value) for value in seconds if value]
    return render(
        "agent.dialogue",
        "prompts/system.md.j2",
        idea=campaign.idea,
        profile=campaign.profile,
        limit=f"{campaign.settings.run_seconds or campaign.profile.limits.run_seconds:.0f}",
        baseline_seconds=f"{max(known):.0f}" if known else "",
        max_runs=campaign.settings.max_runs,
        attempts=campaign.settings.attempts,
        matched=campaign.settings.matched,
        confirm=campaign.settings.confirm,
        goal=goal(campaign),
    )
