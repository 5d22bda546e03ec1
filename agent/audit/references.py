"""References: each has to lead to a result, of the run and the metric that are spoken of, and be of the right base."""

import re
from collections.abc import Iterator

from agent.audit.binding import BASE
from agent.audit.document import Reference
from agent.audit.evidence import Evidence
from agent.audit.mentions import Sentence
from agent.audit.numbers import Fault
from agent.base.errors import AgentError
from agent.results.confounds import L0
from agent.results.expressions import CONVERSIONS, Expression, Term, parse_expression

# What a sentence has to say of a value that is no score, so that nobody takes it for one.
_SAID = {
    "difference": (
        r"\b(?:by|differ\w*|chang\w*|gaps?|distance|delta|points?|lower|higher|drop\w*|f[ae]ll\w*|ris\w+|rose|gain\w*"
        r"|los\w+|reduc\w+|increas\w+|decreas\w+|improv\w+|more|less|fewer|worse|better|above|below|relative|away|costs?"
        r"|shr[iau]nk\w*|grow\w*|grew)\b"
    ),
    "sum": r"\b(?:sum|total|together|in all|altogether|combined)\b",
    "ratio": (
        r"\b(?:ratio|times|fold|relative|share|fraction|per|half|twice|quotient|divided"
        r"|as (?:much|many|large|high|low))\b|(?:%|percent)\s*of\b"
    ),
    "ratio of two metrics": r"\b(?:ratio|per|quotient|divided|for each)\b",
    "product": r"\b(?:product|times|in all|altogether|together)\b",
}
# Settings and records that are an L0; a setting may bear any metric's name and is none.
_OF_L0 = ("settings.k", "training.l0_at_end")
_PERCENT = re.compile(r"\s*(?:%|per ?cent\b(?! ?age))", re.IGNORECASE)
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
        if one.written.startswith("\\verdict") and expression.terms[0].source not in evidence.runs:
            yield Fault(one.start, f"{one.written}: only a scored run has a verdict")
        if expression.conversion != 100 and _PERCENT.match(sentence.text, one.end - sentence.passage.start):
            yield Fault(one.start, f"{one.written} is no percentage", f"100 * {expression.terms[0]}")
        if sentence.passage.kind == "row":
            continue
        if not expression.plain:
            yield from _unsaid(one, expression, sentence, evidence)
        if expression.form != "result":
            continue
        term, place = expression.terms[0], one.start - sentence.passage.start
        run = _run_before(sentence, place, evidence)
        if run and run != term.source:
            yield Fault(one.start, f"{one.written} stands where {run} is spoken of", f"{run}:{term.metric}")
        metrics = _metrics_before(sentence, place, evidence)
        if metrics and term.metric not in metrics and not (metrics[0] == L0 and term.metric in _OF_L0):
            yield Fault(
                one.start, f"{one.written} stands where {metrics[0]} is spoken of", f"{term.source}:{metrics[0]}"
            )


def check_cell_references(
    references: tuple[Reference, ...], sources: list[str], metrics: list[str], said: str, evidence: Evidence
) -> Iterator[Fault]:
    """Check the references of a cell.

    Args:
        references: They.
        sources: The runs and baselines of its row and column.
        metrics: The metrics of these.
        said: What row, column, cell and caption say.
        evidence: The campaign.
    """
    for one in references:
        expression = _read(one, evidence)
        if isinstance(expression, Fault):
            continue
        if expression.form != "result":
            if sources and not set(sources) & {term.source for term in expression.terms}:
                yield Fault(one.start, f"{one.written} is of none of {', '.join(sources[:3])}, whose cell it stands in")
            if metrics and not set(metrics) & {term.metric for term in expression.terms}:
                yield Fault(one.start, f"{one.written} has nothing of {metrics[0]}, whose cell it stands in")
            if unsaid := _lacking(expression, said, said):
                yield Fault(one.start, f"{one.written} {unsaid}")
            continue
        term = expression.terms[0]
        if sources and term.source not in sources:
            yield Fault(
                one.start, f"{one.written} stands in a row or column of {sources[0]}", f"{sources[0]}:{term.metric}"
            )
        elif metrics and term.metric not in metrics and not (metrics[0] == L0 and term.metric in _OF_L0):
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


def _unsaid(one: Reference, expression: Expression, sentence: Sentence, evidence: Evidence) -> Iterator[Fault]:
    """A difference, ratio, or other unit that the sentence gives as if it were the score itself."""
    start, end = one.start - sentence.passage.start, one.end - sentence.passage.start
    joined = _run_before(sentence, start, evidence) or _metrics_before(sentence, start, evidence)
    text = sentence.text
    # "The absorption of run_1 is DIFFERENCE, less than": what it is has to be said before it.
    words = text[:start] if joined and expression.conversion != 100 else text
    if unsaid := _lacking(expression, words, text[end : end + 30]):
        yield Fault(one.start, f"{one.written} {unsaid}")


def _lacking(expression: Expression, words: str, behind: str) -> str:
    """The words that a text lacks to say of a value what it is; nothing where it says it all."""
    form = "ratio of two metrics" if expression.mixed and expression.form == "ratio" else expression.form
    # A relative change in percent is a difference to whoever reads it.
    changes = form == "ratio" and expression.over.minus and expression.conversion == 100
    wanted = _SAID.get("difference" if changes else form)
    if wanted and not re.search(wanted, words, re.IGNORECASE):
        return f"is a {form}, and the text does not say so: name it as one"
    unit = CONVERSIONS.get(expression.conversion)
    if form == "difference" and expression.conversion == 100:
        unit = r"points"
    if unit and not re.search(unit, behind, re.IGNORECASE):
        return "is in another unit than the result: write it behind, \\% or the unit"
    return ""


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
        if mention.end > place:
            continue
        between = sentence.text[mention.end : place]
        for source in sentence.sources:
            if mention.end <= source.start < place:
                between = between.replace(sentence.text[source.start : source.end], "")
        if _JOIN.fullmatch(between):
            return [name for name in mention.names if name in evidence.metrics]
    return []
