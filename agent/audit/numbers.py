"""Typed numbers against results: each has to be the rounded value of what its sentence names."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations

from agent.audit.allowed import is_allowed
from agent.audit.binding import BASE, Bound, Context, bind, resolve
from agent.audit.evidence import Evidence, Finding
from agent.audit.mentions import Numeral, Sentence
from agent.audit.plain import Form
from agent.audit.words import SUPPOSED

_CHANGE = re.compile(
    r"\b(?:by|differ\w*|chang\w*|lower|higher|drop\w*|fall\w*|fell|ris\w+|rose|gain\w*|los\w+|reduc\w+|increas\w+|decreas\w+"
    r"|improv\w+|more|less|fewer|worse|better|above|below|points?|relative|noise|margin|costs?|shrink\w*|grow\w*|delta"
    r"|times|fold|as (?:much|large|many))\b|Δ|[+−-](?=[\d.])",
    re.IGNORECASE,
)
_SPREAD = re.compile(
    r"\b(?:(?<!within )noise|standard deviation|spread|s\.?d\.?)(?: floor)?(?: of| is)?\s*±?\s*$", re.IGNORECASE
)
# A size that was expected or aimed at is no result.
_PLANNED = re.compile(r"\b(?:expect\w*|hypothes\w+|predict\w*|aim\w*|goal|hop(?:e|ed|ing)|would)\b", re.IGNORECASE)

_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_SEEDS = re.compile(rf"\b(?P<count>{'|'.join(_WORDS)})(?: \w+)? seeds?\b", re.IGNORECASE)
_AT_FIRST = re.compile(r"\b(?:starts?|started|begins?|began|first|up to|at least|at most)\b", re.IGNORECASE)
_EACH_RUN = re.compile(
    r"^\W*(?:each|every|all|our)(?: of)?(?: our| the)?(?: \w+)? runs?\b(?! of the baseline)", re.IGNORECASE
)


@dataclass(frozen=True)
class Fault:
    """Something in a text that the campaign does not bear out.

    Args:
        place: Where it stands in the document.
        reason: What is wrong.
        suggestion: What would be right, where that is known.
    """

    place: int
    reason: str
    suggestion: str = ""


def check_numbers(
    sentence: Sentence, evidence: Evidence, context: Context, strict: bool, form: Form = "tex"
) -> Iterator[Fault]:
    """Check the typed numbers of a sentence.

    Args:
        sentence: The sentence.
        evidence: The campaign.
        context: What was spoken of before.
        strict: Whether a typed result is refused even where it is right.
        form: How references are written in the text.

    Returns:
        A fault for each number that is neither allowed nor the rounded value of what it is tied to.
    """
    if _PLANNED.search(sentence.text) and not any(name in evidence.statuses for name in sentence.named_sources):
        return
    results = [n for n in sentence.numerals if not is_allowed(n, sentence, evidence)]
    for bound in _with_found_metrics(list(bind(sentence, results, evidence, context)), sentence, evidence):
        matched = matches(bound, sentence, evidence)
        if strict:
            yield _typed(bound, sentence, evidence, matched, form)
        elif not matched:
            yield explain(bound, sentence, evidence)


def check_seeds(sentence: Sentence, evidence: Evidence) -> Iterator[Fault]:
    """Check a number of seeds that is written as a word: of the runs where they are its subject, else of any group.

    Args:
        sentence: The sentence.
        evidence: The campaign.

    Returns:
        A fault where nothing was trained with so many seeds.
    """
    found = _SEEDS.search(sentence.text)
    if found is None or _PLANNED.search(sentence.text) or SUPPOSED.search(sentence.text):
        return
    groups = {len(group.runs) for group in (*evidence.groups.values(), *evidence.fresh.values())}
    runs = {len(group.runs) for group in evidence.runs.values()} or {1}
    each = _EACH_RUN.search(sentence.text) and not _AT_FIRST.search(sentence.text)
    if each and len(runs) > 1:
        yield Fault(sentence.passage.start + found.start(), f"'{found[0]}': runs have {min(runs)} to {max(runs)}")
        return
    counts = runs if each else groups | runs | {1}
    if _WORDS.index(found["count"].lower()) + 1 not in counts:
        known = " or ".join(str(count) for count in sorted(counts))
        yield Fault(sentence.passage.start + found.start(), f"'{found[0]}': there are {known}")


def _with_found_metrics(bounds: list[Bound], sentence: Sentence, evidence: Evidence) -> list[Bound]:
    """In a sentence that names no metric, what its precise numbers are of is what its other numbers are of."""
    if sentence.metrics:
        return bounds
    found = [
        one.metric
        for bound in bounds
        if significant(bound.numeral) >= 3
        for one in evidence.findings(bound.sources, evidence.metrics)
        if _says(bound.numeral, one)
    ]
    return [
        replace(bound, metrics=list(dict.fromkeys([*bound.metrics, *found])), open_=False) for bound in bounds if found
    ] or bounds


def matches(bound: Bound, sentence: Sentence, evidence: Evidence) -> bool:
    """Tell whether a numeral is the rounded value of a result, or of a change, that it is tied to."""
    numeral = bound.numeral
    values = list(evidence.findings(bound.sources, bound.metrics))
    if numeral.spread or _SPREAD.search(sentence.text[: numeral.start]):
        return any(numeral.says(spread) or _one_digit(numeral, spread) for spread in _spreads(bound, evidence))
    if bound.open_ and significant(numeral) < 3:
        values = []
    if any(_says(numeral, found) for found in values):
        return True
    if re.match(r"\s*(?:s|sec\w*|minutes)\b", sentence.text[numeral.end :]) and _is_time(bound, evidence):
        return True
    return _CHANGE.search(sentence.text) is not None and any(
        numeral.says(number) for number in _changes(bound, sentence, evidence)
    )


def significant(numeral: Numeral) -> int:
    """The number of significant digits that a number was given at."""
    return len(re.sub(r"\D", "", numeral.text).lstrip("0"))


def explain(bound: Bound, sentence: Sentence, evidence: Evidence) -> Fault:
    """Why a numeral that matches nothing is wrong, with the reference that would fit when there is exactly one."""
    numeral = bound.numeral
    place = sentence.passage.start + numeral.start
    fitting = f"{{{bound.sources[0]}:{bound.metrics[0]}}}" if len(bound.sources) == len(bound.metrics) == 1 else ""
    if fitting and evidence.lookup(bound.sources[0], bound.metrics[0]) is None:
        return Fault(place, f"{numeral.text}: {bound.metrics[0]} was not scored for {bound.sources[0]}")
    if bound.metrics and not any(True for _ in evidence.findings(evidence.sources, bound.metrics)):
        return Fault(place, f"{numeral.text}: {' and '.join(bound.metrics[:2])} was scored for no run")
    for base, value in _wrong_bases(bound, sentence, evidence):
        return Fault(
            place, f"{numeral.text} is the percentage of the wrong base: relative to {base} it is {value:.4g}%"
        )
    digits = significant(numeral)
    if not bound.open_ or digits >= 3:
        for found in evidence.findings(evidence.sources, bound.metrics):
            if _says(numeral, found) and found.source not in bound.sources:
                named = " or ".join(bound.sources[:3]) or "what the sentence names"
                return Fault(place, f"{numeral.text} is {found.metric} of {found.source}, not of {named}", fitting)
        for found in evidence.findings(bound.sources, evidence.metrics):
            if _says(numeral, found) and digits >= 3:
                return Fault(
                    place, f"{numeral.text} is {found.metric} of {found.source}, not {bound.metrics[0]}", fitting
                )
    for found in evidence.findings(bound.sources, bound.metrics):
        if abs(found.value.value - numeral.value) <= 1.5 * numeral.step and not numeral.percent:
            return Fault(
                place, f"{numeral.text} is no rounding of {found}, which is {found.value.value:.6g}", f"{{{found}}}"
            )
    return Fault(place, f"{numeral.text} matches no result, setting or change that the sentence names", fitting)


def _typed(bound: Bound, sentence: Sentence, evidence: Evidence, matched: bool, form: Form) -> Fault:
    place = sentence.passage.start + bound.numeral.start
    if not matched and not bound.open_:
        return explain(bound, sentence, evidence)
    fitting = [
        str(f) for f in evidence.findings(bound.sources or evidence.sources, bound.metrics) if _says(bound.numeral, f)
    ]
    only = fitting[0].partition(":") if len(fitting) == 1 else None
    if form == "tex":
        ways = "\\res{run}{metric} or \\num{...}"
        reference = f"\\res{{{only[0]}}}{{{only[2]}}}" if only else ""
    else:
        ways = "{run:metric}, {run:metric - topk:metric} or {percent(run:metric, topk:metric)}"
        reference = f"{{{only[0]}:{only[2]}}}" if only else ""
    return Fault(place, f"{bound.numeral.text} is typed: give a result as {ways}", reference)


def _says(numeral: Numeral, found: Finding) -> bool:
    number = found.value.value
    if numeral.percent:
        # A share may be written as a percentage; a percentage that stands for a plain number may not.
        return found.value.unit == "" and abs(number) <= 1 and numeral.says(100 * number)
    return numeral.says(number)


def _one_digit(numeral: Numeral, number: float) -> bool:
    """A spread is given at the decimals of its mean, often one digit."""
    return abs(number - numeral.value) <= numeral.step / 2 + 1e-12


def _spreads(bound: Bound, evidence: Evidence) -> Iterator[float]:
    """The spread of a metric over seeds, and the noise floors of the runs beside their baselines."""
    bases = [evidence.base_of(source) for source in bound.sources]
    for found in evidence.findings(list(dict.fromkeys([*bound.sources, *bases])), bound.metrics):
        if found.value.sd is not None:
            yield found.value.sd
    runs = [source for source in bound.sources if source in evidence.runs] or list(evidence.runs)
    for run in runs:
        for metric in bound.metrics:
            width = evidence.judge(run, metric, evidence.base_of(run)).margin
            if width is not None:
                yield width


def _is_time(bound: Bound, evidence: Evidence) -> bool:
    times = [seconds for source in bound.sources for seconds in evidence.facts.get(source, set())]
    times += [value.value for s in bound.sources if (value := evidence.lookup(s, "training.seconds"))]
    return any(_one_digit(bound.numeral, seconds) for seconds in times)


def _pairs(bound: Bound, sentence: Sentence, evidence: Evidence) -> Iterator[tuple[Finding, Finding]]:
    """Each two sources that a change may lie between: the changed one, and the base."""
    named = resolve(sentence.named_sources, bound.sources, evidence)
    around = list(dict.fromkeys([*bound.sources, *named, *(evidence.base_of(s) for s in bound.sources or named)]))
    bases = _named_bases(sentence, evidence, bound)
    for metric in bound.metrics:
        for own, base in permutations(around, 2):
            if not {own, base} & set(bound.sources or around):
                continue
            if own in evidence.groups and base not in evidence.groups:
                continue
            if bases and base not in bases and base not in evidence.groups:
                continue
            values = evidence.lookup(own, metric), evidence.lookup(base, metric)
            if values[0] is not None and values[1] is not None:
                yield Finding(own, metric, values[0]), Finding(base, metric, values[1])


def _named_bases(sentence: Sentence, evidence: Evidence, bound: Bound) -> list[str]:
    """The sources that stand behind `than`, `relative to` and the like."""
    found = [m.names for m in sentence.sources if BASE.search(sentence.text[: m.start])]
    return resolve([name for names in found for name in names], bound.sources, evidence)


def _changes(bound: Bound, sentence: Sentence, evidence: Evidence) -> Iterator[float]:
    numeral = bound.numeral
    points = re.match(r"[^.;]{0,14}\bpoints?\b", sentence.text[numeral.end - 7 :]) is not None
    for own, base in _pairs(bound, sentence, evidence):
        difference = own.value.value - base.value.value
        if numeral.percent:
            numbers = [100 * difference] if points or not base.value.value else []
            if not points and base.value.value:
                numbers = [100 * difference / base.value.value]
        elif numeral.times:
            numbers = [own.value.value / base.value.value] if base.value.value else []
        else:
            numbers = [difference]
            if re.match(r"\s*(?:times|-?fold)\b", sentence.text[numeral.end :]) and base.value.value:
                numbers = [own.value.value / base.value.value]
        for number in numbers:
            yield number if numeral.signed else abs(number)


def _wrong_bases(bound: Bound, sentence: Sentence, evidence: Evidence) -> Iterator[tuple[str, float]]:
    if not bound.numeral.percent or bound.open_:
        return
    for own, base in _pairs(bound, sentence, evidence):
        difference = own.value.value - base.value.value
        if own.value.value and base.value.value and bound.numeral.says(abs(100 * difference / own.value.value)):
            yield base.source, 100 * difference / base.value.value
        if own.value.value and base.value.value and bound.numeral.says(abs(100 * difference)):
            yield base.source, 100 * difference / base.value.value
