"""Binding of typed numbers to the source and the metric that their sentence names for them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from agent.audit.allowed import belongs_to_a_metric
from agent.audit.evidence import Evidence
from agent.audit.mentions import Mention, Numeral, Sentence

BASE = re.compile(
    r"\b(?:relative to|compared (?:with|to)|over|against|than|versus|vs\.?|beside|from|of|with"
    r"|to)\s+(?:that of\s+)?(?:the\s+)?$",
    re.I,
)
_COMPARED = re.compile(
    r"\b(?:relative to|compar(?:ed|able) (?:with|to)|over|against|than|versus|vs\.?|beside)\s+(?:the\s+)?$", re.I
)
_JOINED_BEHIND = re.compile(
    r"\s*(?:±\s*[\d.e-]+\s*)?(?:nats|latents|points?)?\s*(?:\[|\(|in |for |with |of |by |\((?:for|in) |at )(?:the )?",
    re.I,
)
_DIRECTLY = re.compile(r"(?:'s|’s)?(?: [a-z]+){0,3}[\s(:,=\[]*(?:±\s*)?[\s(]*", re.IGNORECASE)
_METRIC_BEHIND = re.compile(
    r"\s*(?:±\s*[\d.e-]+\s*)?(?:(?:nats|latents|points?)\s+)?(?:\[[^\]]*\]\s*)?(?:\()?(?:of (?:the )?"
    r"|in (?:the )?|more |less |lower |higher )?",
    re.I,
)


@dataclass(frozen=True)
class Context:
    """The subject of the sentences before, for sentences that name nothing themselves."""

    sources: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bound:
    """A numeral and what its sentence ties it to; `open_` where the sentence names no metric."""

    numeral: Numeral
    sources: list[str]
    metrics: list[str]
    open_: bool


def bind(sentence: Sentence, numerals: list[Numeral], evidence: Evidence, context: Context) -> Iterator[Bound]:
    """Tie the numerals of a sentence to sources and metrics.

    Args:
        sentence: The sentence.
        numerals: Those of its numerals that should be results.
        evidence: The campaign.
        context: What was spoken of before.
    """
    if not numerals:
        return
    counted = [n for n in numerals if not n.spread]
    by_source = _listed(sentence.text, sentence.sources, counted, True)
    by_metric = _listed(sentence.text, sentence.metrics, counted, False)
    last: Bound | None = None
    runs = [name for name in sentence.named_sources if name in evidence.statuses] or [sentence.passage.run]
    for numeral in numerals:
        if numeral.spread and last is not None:
            yield Bound(numeral, last.sources, last.metrics, last.open_)
            continue
        named = by_source.get(numeral.start) or _source(sentence, numeral, evidence, context)
        changes = _starts_a_change(sentence, numeral, numerals) or _is_beside(sentence, numeral)
        if changes and numeral.start not in by_source:
            others = [name for name in sentence.named_sources if name not in named]
            named = tuple(others) or ("baseline",)
        meant = by_metric.get(numeral.start) or _metric(sentence, numeral)
        metrics = list(meant or (() if sentence.metrics else context.metrics))
        if metrics and numeral.start not in by_metric and not is_named_metric(numeral, sentence):
            metrics = list(dict.fromkeys([*metrics, *sentence.named_metrics]))
        sources = resolve(named, runs, evidence) or evidence.sources
        if re.search(r"\bseeds?\b", sentence.text):
            sources += [run.name for name in sources if name in evidence.groups for run in evidence.groups[name].runs]
        last = Bound(numeral, sources, metrics or evidence.metrics, not metrics)
        yield last


def resolve(names: Iterable[str], near: Iterable[str], evidence: Evidence) -> list[str]:
    """Names with `baseline` replaced by the one that the runs around it are judged against."""
    near = [name for name in near if name in evidence.runs]
    found: list[str] = []
    for name in names:
        found += list(dict.fromkeys(evidence.base_of(run) for run in near or [""])) if name == "baseline" else [name]
    return list(dict.fromkeys(found))


def is_named_metric(numeral: Numeral, sentence: Sentence) -> bool:
    """Tell whether a metric's name is joined on to a numeral, before or behind it, so that no other can be meant."""
    if belongs_to_a_metric(numeral, sentence):
        return True
    after = [m for m in sentence.metrics if m.start >= numeral.end]
    return bool(after and _METRIC_BEHIND.fullmatch(sentence.text[numeral.end : after[0].start]))


def _listed(
    text: str, mentions: tuple[Mention, ...], numerals: list[Numeral], lists: bool
) -> dict[int, tuple[str, ...]]:
    """`run_1 and run_2 reach 0.1 and 0.2`: as many names as numbers, all names first; between semicolons."""
    found: dict[int, tuple[str, ...]] = {}
    start = 0
    for part in text.split(";"):
        end = start + len(part)
        inside = [m for m in mentions if start <= m.start < end]
        numbers = [n for n in numerals if start <= n.start < end]
        start = end + 1
        if len(numbers) < 2 or not inside or inside[-1].start > numbers[0].start:
            continue
        names = [mention.names for mention in inside]
        if lists and len(inside) == 1:
            names = [(name,) for name in inside[0].names]
        if len(names) == len(numbers):
            found |= {numeral.start: one for numeral, one in zip(numbers, names, strict=True)}
    return found


def _source(sentence: Sentence, numeral: Numeral, evidence: Evidence, context: Context) -> tuple[str, ...]:
    """The source that a numeral is tied to: joined on behind it, else the nearest before it, else spoken of before."""
    after = [m for m in sentence.sources if m.start >= numeral.end]
    between = sentence.text[numeral.end : after[0].start] if after else ""
    # `24 (baseline 16)`: what stands in brackets of its own is tied to what follows it there.
    own_bracket = re.search(r"[(\[]\s*(?:the )?$", between) and not re.match(
        r"(?: baseline| SAE)?\s*[)\]]", sentence.text[after[0].end :]
    )
    if after and _JOINED_BEHIND.fullmatch(between) and not own_bracket:
        return after[0].names
    for mention in reversed([m for m in sentence.sources if m.end <= numeral.start]):
        between = sentence.text[mention.end : numeral.start]
        # What a comparison is made with, `than the baseline`, is spoken of no longer than its own number.
        if _DIRECTLY.fullmatch(between) or not _COMPARED.search(sentence.text[: mention.start]):
            return mention.names
    if sentence.passage.run in evidence.runs:
        return (sentence.passage.run,)
    carried = tuple(name for name in context.sources if name in evidence.statuses)
    if carried and not any(name in evidence.statuses for name in sentence.named_sources):
        return carried
    runs = [m.names for m in after if m.names[0] in evidence.statuses]
    return runs[0] if runs else after[0].names if after else context.sources


def _metric(sentence: Sentence, numeral: Numeral) -> tuple[str, ...]:
    """The metric joined on behind a numeral, else the nearest before it."""
    after = [m for m in sentence.metrics if m.start >= numeral.end]
    if after and _METRIC_BEHIND.fullmatch(sentence.text[numeral.end : after[0].start]):
        return after[0].names
    before = [m for m in sentence.metrics if m.end <= numeral.start]
    return before[-1].names if before else ()


def _is_beside(sentence: Sentence, numeral: Numeral) -> bool:
    """`0.74 against 0.75`: the second number is the base's, unless a source is joined on to it."""
    return (
        re.search(
            r"\b(?:against|versus|vs\.?|beside|than|noise of|compared (?:with|to))\s+$", sentence.text[: numeral.start]
        )
        is not None
        and not any(_JOINED_BEHIND.fullmatch(sentence.text[numeral.end : m.start]) for m in sentence.sources)
        and any(n.start < numeral.start for n in sentence.numerals)
    )


def _starts_a_change(sentence: Sentence, numeral: Numeral, numerals: list[Numeral]) -> bool:
    """`from 0.75 to 0.74`: the first of the two is the base's, unless a source is joined on to it."""
    if not re.search(r"\bfrom\s+(?:a |an )?$", sentence.text[: numeral.start]):
        return False
    later = [n for n in numerals if n.start > numeral.end]
    if not later:
        return False
    between = sentence.text[numeral.end : later[0].start]
    joined = any(numeral.end <= m.start < later[0].start for m in sentence.sources)
    return bool(re.search(r"\bto\s+(?:a |an )?$", between)) and not joined
