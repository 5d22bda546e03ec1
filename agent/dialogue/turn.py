"""One question and what its answer does to the files: by our own edit engine, or by aider under the same gate."""

from collections.abc import Callable
from dataclasses import dataclass

from agent.campaign.campaign import Campaign
from agent.campaign.state import Refusal
from agent.dialogue.reply import ReplyParts, parse_reply
from agent.edit import Block, Outcome, apply_reply
from agent.models.base import Reply


@dataclass(frozen=True)
class Question:
    """A question, and the files that its answer may change.

    Args:
        system: The fixed part of the prompt.
        prompt: The part of this turn.
        purpose: What the call is for, in the transcript.
        editable: The files that may change.
        refusals: The refused replies so far; the last one's good blocks wait for the rest.
        said: Sections that need not be said again.
        problem: What a reply lacks besides its blocks; nothing is written then.
    """

    system: str
    prompt: str
    purpose: str
    editable: tuple[str, ...]
    refusals: list[Refusal]
    said: dict[str, str]
    problem: Callable[[ReplyParts], str]


@dataclass(frozen=True)
class Turn:
    """The answer, taken apart, and what became of its edits.

    Args:
        reply: As the model gave it.
        parts: Its sections and its edits.
        refusal: Why nothing was written; None when the edits stand in the files, or there were none to make.
        remarks: What the model should know of edits that were taken, a shell command that was ignored for one.
    """

    reply: Reply
    parts: ReplyParts
    refusal: Refusal | None
    remarks: str = ""


def take_turn(campaign: Campaign, question: Question) -> Turn:
    """Ask, and apply the edits of the answer, all or none.

    Args:
        campaign: The campaign; its settings name the editor.
        question: What is asked.

    Returns:
        The answer and what became of it.
    """
    return _EDITORS[campaign.settings.editor](campaign, question)


def _with_blocks(campaign: Campaign, question: Question) -> Turn:
    reply = campaign.ask(question.system, question.prompt, question.purpose)
    parts = parse_reply(reply.text).with_said(question.said)
    if parts.completed and not parts.has_edits:
        return Turn(reply, parts, None)
    problem = question.problem(parts)
    outcome = apply_reply(
        parts.edits,
        campaign.workspace.path,
        question.editable,
        pending=[Block.from_json(block) for block in question.refusals[-1].pending] if question.refusals else [],
        dry_run=bool(problem),
        cut_off=reply.finish == "length",
    )
    return Turn(reply, parts, _refusal(outcome, problem), outcome.feedback)


def _with_aider(campaign: Campaign, question: Question) -> Turn:
    from agent.edit.aider.editor import edit_with_aider

    task = f"{question.system}\n\n{question.prompt}"
    turn = edit_with_aider(campaign.model, task, campaign.workspace.path, question.editable, purpose=question.purpose)
    # The first answer carries the sections; the later ones mend what aider could not apply.
    first, last = turn.replies[0], turn.replies[-1]
    parts = parse_reply(first.text).with_said(question.said)
    if parts.completed and not parts.has_edits:
        return Turn(last, parts, None)
    problem = question.problem(parts)
    if problem and turn.outcome.applied:
        campaign.workspace.restore("HEAD", question.editable)
    return Turn(last, parts, _refusal(turn.outcome, problem), turn.outcome.feedback)


def _refusal(outcome: Outcome, problem: str) -> Refusal | None:
    if outcome.applied and not problem:
        return None
    feedback = "\n\n".join(text for text in (problem, "" if outcome.applied else outcome.feedback) if text)
    kind = "shape" if problem else outcome.failure or "format"
    return Refusal(kind, feedback, [block.to_json() for block in outcome.pending])


_EDITORS: dict[str, Callable[[Campaign, Question], Turn]] = {"blocks": _with_blocks, "aider": _with_aider}
