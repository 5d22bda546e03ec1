"""One turn with the model: ask for the next change, check it, and commit it, or say why it was refused."""

from agent.audit.evidence import gather
from agent.audit.said import faults_of_analysis, faults_of_expectation, without_claims
from agent.campaign.campaign import Campaign
from agent.campaign.events import Edited, Ended, GivenUp, Refused
from agent.campaign.folder import EXPERIMENT
from agent.campaign.state import Refusal, Run, exhausted
from agent.dialogue.prompt import REPLY_SHOWN, turn_prompt
from agent.dialogue.reply import ReplyParts, lines_of
from agent.dialogue.turn import Question, Turn, take_turn
from agent.gates.protect import breaches, explain
from agent.results.predictions import fit, unfit
from agent.results.references import dangling

# After so many refusals what a reply says is left out of the notes instead: words cost no run.
PATIENCE = 2


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
                problem=lambda parts: _lacks(campaign, this, parts),
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
    change, prediction, analysis, left_out = _borne_out(campaign, parts, this.number - 1)
    predictions = fit(parts.predictions, *_metrics(campaign))
    attempt = len(this.attempts) + 1
    suffix = f" (attempt {attempt})" if attempt > 1 else ""
    commit = campaign.workspace.commit(f"run_{this.number}{suffix}: {change}\n\n{prediction}".strip())
    campaign.record(
        Edited(
            run=this.number,
            commit=commit,
            parent=parent,
            code=code,
            change=change,
            prediction=prediction,
            predictions=sorted(predictions, key=lambda line: line.metric != campaign.goal),
            analysis=analysis,
            remarks="\n".join(filter(None, (turn.remarks, left_out))),
            call=turn.reply.call,
        )
    )
    campaign.screen.say(f"  run {this.number}{suffix}: {change}")


def _end(campaign: Campaign, this: Run, turn: Turn) -> None:
    """The model has completed its plan; its last analysis is checked as any other, once, and then left out."""
    problem = unknown_references(campaign, turn.parts) or unborne(campaign, turn.parts, this.number - 1)
    if problem and not this.refusals:
        refuse(campaign, this, turn, Refusal("shape", problem))
        return
    reason = "the model said ALL_COMPLETED"
    analysis = "" if problem else turn.parts.analysis
    campaign.record(Ended(reason=reason, analysis=analysis, call=turn.reply.call))
    campaign.screen.say("  the model has completed its plan")


def _said_before(this: Run) -> dict[str, str]:
    """The sections of the refused reply, or of the edit that failed: they need not be said again."""
    if this.refusals:
        return this.refusals[-1].said
    return {"change": this.last.change, "prediction": this.last.prediction} if this.last else {}


def _lacks(campaign: Campaign, this: Run, parts: ReplyParts) -> str:
    """Describe what a reply lacks besides its blocks."""
    if not parts.change:
        return "The reply has no <change> line that names the change."
    if not parts.prediction:
        return "The reply has no <prediction>: say what should change, and by how much, before it is run."
    if problem := unknown_references(campaign, parts):
        return problem
    if len(this.refusals) >= PATIENCE:
        return ""
    if lines := unfit(parts.predictions, campaign.goal, *_metrics(campaign)):
        return "The prediction cannot be held against the run: " + "; ".join(lines) + "."
    return unborne(campaign, parts, this.number - 1)


def _metrics(campaign: Campaign) -> tuple[list[str], list[str]]:
    """The metrics that runs are scored by, and those of them that no SAE can move."""
    scored = campaign.baseline.metrics
    return list(scored), [name for name, value in scored.items() if not value.of_sae]


def unborne(campaign: Campaign, parts: ReplyParts, about: int = 0) -> str:
    """Explain to the model what it says that no result bears out; nothing when all is borne out.

    Args:
        campaign: The campaign.
        parts: The reply.
        about: The run that its analysis is about; 0 for all.
    """
    if not (parts.analysis or parts.prediction):
        return ""
    evidence = gather(campaign, unscored=False)
    found = faults_of_analysis(parts.analysis, evidence, about) if parts.analysis else []
    found += faults_of_expectation(parts.prediction, evidence) if parts.prediction else []
    if not found:
        return ""
    return (
        "Results do not bear out what you say, so it cannot go into the notes. Mend these sentences, or leave them "
        "out; your blocks are kept.\n" + "\n".join(f"- {line}" for line in found)
    )


def _borne_out(campaign: Campaign, parts: ReplyParts, about: int) -> tuple[str, str, str, str]:
    """Change, prediction and analysis as they can go into the notes, and what the model is told of what cannot."""
    evidence = gather(campaign, unscored=False)
    change = without_claims(parts.change, evidence) or "a change of the script"
    prediction, analysis, left = parts.prediction, parts.analysis, []
    if analysis and faults_of_analysis(analysis, evidence, about):
        analysis = ""
        left.append("analysis")
    if prediction and faults_of_expectation(prediction, evidence):
        prediction = "\n".join(lines_of(prediction))
        left.append("sentences beside the lines of your prediction")
    told = f"your {' and the '.join(left)} went beyond the results and is not in the notes." if left else ""
    return change, prediction, analysis, told


def _same_code(campaign: Campaign, code: str) -> str:
    known = {**campaign.state.earlier_code(), campaign.template_code: "the template (the baseline)"}
    if code not in known:
        return ""
    return (
        f"The edit leaves a program that does what {known[code]} did: comments and layout aside the code is the same. "
        "Nothing was run. Change what the experiment does, or reply ALL_COMPLETED."
    )
