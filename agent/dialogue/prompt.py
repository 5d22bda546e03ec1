"""Prompts, built afresh from the state at every turn, so that turn ten costs what turn one did."""

from agent.base.texts import render
from agent.campaign.folder import EXPERIMENT, PLOT
from agent.campaign.record import Record
from agent.campaign.state import Run
from agent.report.closing import chance_text, confirmation_text
from agent.report.tables import baseline_detail, detail, one_line_table

ARROWS = (
    "(+) higher is better, (-) lower, = no effect that matters, ~ undecided, n/m not measurable; "
    "baselines are means over seeds"
)
REPLY_SHOWN = 6000


def turn_prompt(record: Record, this: Run) -> tuple[str, str]:
    """The question for a run's next edit.

    Args:
        record: The campaign.
        this: The run; its refusals and failures say what the question is.

    Returns:
        The fixed part, the same in every turn of a campaign, and the part of this turn.
    """
    state = record.state
    settings = record.settings
    scored = [run for run in state.scored if run.number < this.number]
    before = state.runs[this.number - 2] if this.number > 1 else None
    prompt = render(
        "agent.dialogue",
        "prompts/turn.md.j2",
        number=this.number,
        max_runs=settings.max_runs,
        attempts=settings.attempts,
        arrows=ARROWS,
        table=one_line_table(record, [run for run in state.runs if run.number < this.number]),
        last=detail(record, scored[-1]) if scored else "",
        baselines="" if scored else baseline_detail(record),
        code=record.folder.read(EXPERIMENT),
        feedback=this.refusals[-1].feedback if this.refusals else "",
        reply=this.refusals[-1].reply[:REPLY_SHOWN] if this.refusals else "",
        started=this.started,
        failure=this.last.failure if this.last else None,
        remarks=before.last.remarks if before and before.last else "",
        given_up=before.given_up if before else "",
    )
    return system_prompt(record), prompt


def plot_prompt(record: Record) -> tuple[str, str]:
    """The question that closes a campaign: its analysis, and edits of the plots."""
    state = record.state
    prompt = render(
        "agent.dialogue",
        "prompts/plots.md.j2",
        arrows=ARROWS,
        table=one_line_table(record, state.runs),
        # No turn came after the last run, so nobody was asked about it.
        last=detail(record, state.scored[-1]) if state.scored and not state.ended else "",
        confirmation="\n\n".join(confirmation_text(record)),
        chance=chance_text(record),
        code=record.folder.read(PLOT),
        feedback=state.plot_refusals[-1].feedback if state.plot_refusals else "",
        failure=state.plot_failures[-1] if state.plot_failures else None,
    )
    return system_prompt(record), prompt


def system_prompt(record: Record) -> str:
    """The fixed part: the idea, the rules and the shape of a reply."""
    seconds = [run.training.get("seconds") for group in record.baselines.values() for run in group.runs]
    known = [float(value) for value in seconds if value]
    return render(
        "agent.dialogue",
        "prompts/system.md.j2",
        idea=record.idea,
        profile=record.profile,
        limit=f"{record.settings.run_seconds or record.profile.limits.run_seconds:.0f}",
        baseline_seconds=f"{max(known):.0f}" if known else "",
        max_runs=record.settings.max_runs,
        attempts=record.settings.attempts,
        matched=record.settings.matched,
        seeds=record.settings.seeds,
        confirm=record.settings.confirm,
        goal=record.goal,
        smallest=record.settings.smallest.get(record.goal),
        guards=record.settings.guards,
    )
