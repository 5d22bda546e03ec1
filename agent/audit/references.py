"""References: each has to lead to a result, of the run and the metric that are spoken of, and be of the right base."""

import re
from collections.abc import Iterator

from agent.audit.binding import BASE
from agent.audit.document import Reference
from agent.audit.evidence import Evidence
from agent.audit.mentions import Sentence
from agent.audit.numbers import Fault
from agent.base.errors import AgentError
from agent.results.expressions import Expression, Term, parse_expression

_JOIN = re.compile(r"(?:'s|’s)?\s*(?:\(|reaches|has|gives|gets|scores|is at|at|is|of|:|=|\s)*", re.IGNORECASE)


def check_references(sentence: Sentence, evidence: Evidence) -> Iterator[Fault]:
    """Check the references of a sentence.

    Args:
        sentence: The sentence.
        evidence: The campaign.

    Returns:
        A fault for each that leads nowhere, cannot be computed, is a percentage of the wrong base, or stands right
        behind the name of another run or metric.
    """
    for one in sentence.references:
        expression = _read(one, evidence)
        if isinstance(expression, Fault):
            yield expression
            continue
        for own, base, divisor in expression.percentages():
            right = _wrong_base(own, base, divisor, sentence, evidence)
            if right:
                yield Fault(one.start, f"{one.written} is a percentage of {divisor}", f"percent({right})")
        if not one.plain or sentence.passage.kind == "row":
            continue
        term, place = expression.terms[0], one.start - sentence.passage.start
        run = _run_before(sentence, place, evidence)
        if run and run != term.source:
            yield Fault(one.start, f"{one.written} stands where {run} is spoken of", f"{run}:{term.metric}")
        metrics = _metrics_before(sentence, place, evidence)
        if metrics and term.metric not in metrics and not term.metric.startswith(("settings.", "training.")):
            yield Fault(
                one.start, f"{one.written} stands where {metrics[0]} is spoken of", f"{term.source}:{metrics[0]}"
            )


def check_cell_references(
    references: tuple[Reference, ...], sources: list[str], metrics: list[str], evidence: Evidence
) -> Iterator[Fault]:
    """Check the references of a cell against the run and the metric of its row and column."""
    for one in references:
        expression = _read(one, evidence)
        if isinstance(expression, Fault) or not one.plain:
            continue
        term = expression.terms[0]
        if sources and term.source not in sources:
            yield Fault(
                one.start, f"{one.written} stands in a row or column of {sources[0]}", f"{sources[0]}:{term.metric}"
            )
        elif metrics and term.metric not in metrics and not term.metric.startswith("settings."):
            yield Fault(
                one.start, f"{one.written} stands in a row or column of {metrics[0]}", f"{term.source}:{metrics[0]}"
            )


def _read(one: Reference, evidence: Evidence) -> Expression | Fault:
    try:
        expression = parse_expression(one.expression)
        expression.value(evidence.lookup)
    except AgentError as error:
        return Fault(one.start, f"{one.written}: {error}")
    return expression


def _wrong_base(own: Term, base: Term, divisor: Term, sentence: Sentence, evidence: Evidence) -> str:
    """The right base of a percentage that is of a run beside its baseline, or of the changed value itself."""
    other = base if own == divisor else own
    named = [name for m in sentence.sources if BASE.search(sentence.text[: m.start]) for name in m.names]
    if other == divisor or other.metric != divisor.metric or divisor.source in named:
        return ""
    if other.source in evidence.groups and divisor.source in evidence.runs:
        return f"{divisor}, {other}"
    return f"{own}, {base}" if own == divisor and base != divisor else ""


def _run_before(sentence: Sentence, place: int, evidence: Evidence) -> str:
    """The run whose name stands right before a reference, nothing but a metric and small words between."""
    for mention in reversed(sentence.sources):
        if mention.end > place or len(mention.names) != 1 or mention.names[0] not in evidence.statuses:
            continue
        between = sentence.text[mention.end : place]
        for metric in sentence.metrics:
            if mention.end <= metric.start < place:
                between = between.replace(sentence.text[metric.start : metric.end], "")
        # "of run_2, REFERENCE, is": set off by commas on both sides.
        set_off = re.match(r"\ue000*\s*,", sentence.text[place:]) is not None
        if set_off and re.search(r"\b(?:of|in|for)\s+$", sentence.text[: mention.start]):
            between = between.replace(",", "", 1)
        return mention.names[0] if _JOIN.fullmatch(between) else ""
    return ""


def _metrics_before(sentence: Sentence, place: int, evidence: Evidence) -> list[str]:
    """The metrics that may be meant by the name right before a reference."""
    for mention in sentence.metrics:
        if mention.end <= place and _JOIN.fullmatch(sentence.text[mention.end : place]):
            return [name for name in mention.names if name in evidence.metrics]
    return []
