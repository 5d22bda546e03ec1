"""One turn with the model: ask for the next change, check it, and commit it, or say why it was refused."""

from agent.campaign.campaign import Campaign
from agent.campaign.events import Edited, Ended, GivenUp, Refused
from agent.campaign.folder import EXPERIMENT
from agent.campaign.state import Refusal, Run, exhausted
from agent.dialogue.prompt import REPLY_SHOWN, turn_prompt
from agent.dialogue.reply import ReplyParts
from agent.dialogue.turn import Question, Turn, take_turn
from agent.gates.protect import breaches, explain
from agent.results.references import dangling


def propose(campaign: Campaign, this: Run) -> None:
    """Ask for the change of a run; taken, it is committed; refused, the model is told why at the next question.

    Args:
        campaign: The campaign.
        this: The run, without an edit or with a failed one.
    """
    spent = exhausted(this.refusals, campaign.settings)
    if spent:
        reason = f"{campaign.settings.tries(spent)} replies were refused ({spent})"
        campaign.record(GivenUp(run=this.number, reason=reason))
        campaign.screen.say(f"  run {this.number}: [red]given up[/red], {reason}")
        return
    parent = campaign.state.base
    campaign.workspace.restore(parent)
    system, prompt = turn_prompt(campaign, this)
    with campaign.screen.step(f"run {this.number}: asking {campaign.model.name}"):
        turn = take_turn(
            campaign,
            Question(
                system=system,
                prompt=prompt,
                purpose=f"run_{this.number}",
                editable=(EXPERIMENT,),
                refusals=this.refusals,
                said=_said_before(this),
                problem=lambda parts: _lacks(campaign, parts),
            ),
        )
    if turn.parts.completed and not turn.parts.has_edits:
        _end(campaign, this, turn)
    else:
        _take(campaign, this, turn, parent)


def refuse(campaign: Campaign, this: Run | None, turn: Turn, refusal: Refusal) -> None:
    """Record a reply that was not taken, and say so.

    Args:
        campaign: The campaign.
        this: The run; None for an edit of the plots.
        turn: The reply.
        refusal: Why.
    """
    said = {"analysis": turn.parts.analysis, "change": turn.parts.change, "prediction": turn.parts.prediction}
    campaign.record(
        Refused(
            run=this.number if this else None,
            call=turn.reply.call,
            fault=refusal.kind,
            feedback=refusal.feedback,
            held=refusal.pending,
            reply=turn.parts.edits[:REPLY_SHOWN],
            said=said,
        )
    )
    about = f"run {this.number}" if this else "plots"
    first = (refusal.feedback.strip().splitlines() or [""])[0]
    campaign.screen.say(f"  {about}: reply [yellow]refused[/yellow] ({refusal.kind}), nothing was changed. {first}")


def unknown_references(campaign: Campaign, parts: ReplyParts) -> str:
    """Explain references that lead nowhere to the model; nothing when all are good."""
    lost = dangling(f"{parts.analysis}\n{parts.prediction}\n{parts.change}", campaign.lookup)
    if not lost:
        return ""
    named = ", ".join(lost[:5])
    return f"These references lead to no result: {named}. Use runs that were scored and metrics of the table."


def _take(campaign: Campaign, this: Run, turn: Turn, parent: str) -> None:
    refusal, parts = turn.refusal, turn.parts
    source = campaign.workspace.read(EXPERIMENT)
    if not refusal and (found := breaches(source)):
        campaign.workspace.restore("HEAD")
        refusal = Refusal("protected", explain(EXPERIMENT, found))
    code = "" if refusal else campaign.code_key(source)
    if not refusal and (same := _same_code(campaign, code)):
        campaign.workspace.restore("HEAD")
        refusal = Refusal("same", same)
    if refusal:
        refuse(campaign, this, turn, refusal)
        return
    attempt = len(this.attempts) + 1
    suffix = f" (attempt {attempt})" if attempt > 1 else ""
    commit = campaign.workspace.commit(f"run_{this.number}{suffix}: {parts.change}\n\n{parts.prediction}".strip())
    campaign.record(
        Edited(
            run=this.number,
            commit=commit,
            parent=parent,
            code=code,
            change=parts.change,
            prediction=parts.prediction,
            predictions=list(parts.predictions),
            analysis=parts.analysis,
            remarks=turn.remarks,
            call=turn.reply.call,
        )
    )
    campaign.screen.say(f"  run {this.number}{suffix}: {parts.change}")


def _end(campaign: Campaign, this: Run, turn: Turn) -> None:
    """The model has completed its plan; its last analysis is checked as any other, once."""
    problem = unknown_references(campaign, turn.parts)
    if problem and not this.refusals:
        refuse(campaign, this, turn, Refusal("shape", problem))
        return
    reason = "the model said ALL_COMPLETED"
    campaign.record(Ended(reason=reason, analysis=turn.parts.analysis, call=turn.reply.call))
    campaign.screen.say("  the model has completed its plan")


def _said_before(this: Run) -> dict[str, str]:
    """The sections of the refused reply, or of the edit that failed: they need not be said again."""
    if this.refusals:
        return this.refusals[-1].said
    return {"change": this.last.change, "prediction": this.last.prediction} if this.last else {}


def _lacks(campaign: Campaign, parts: ReplyParts) -> str:
    """Describe what a reply lacks besides its blocks."""
    if not parts.change:
        return "The reply has no <change> line that names the change."
    if not parts.prediction:
        return "The reply has no <prediction>: say what should change, and by how much, before it is run."
    return unknown_references(campaign, parts)


def _same_code(campaign: Campaign, code: str) -> str:
    known = {**campaign.state.earlier_code(), campaign.template_code: "the template (the baseline)"}
    if code not in known:
        return ""
    return (
        f"The edit leaves a program that does what {known[code]} did: comments and layout aside the code is the same. "
        "Nothing was run. Change what the experiment does, or reply ALL_COMPLETED."
    )
