"""Comparative words against verdicts: what is said to improve has to have improved, outside the noise."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from agent.audit.binding import Context, resolve
from agent.audit.document import CITED, REFERRED
from agent.audit.evidence import Evidence, Judgement
from agent.audit.mentions import Mention, Sentence
from agent.audit.numbers import Fault
from agent.audit.words import (
    ASKED,
    CLAUSES,
    COMPARATIVES,
    EXPECTED,
    EXPECTED_BEHIND,
    NEGATION,
    OURS,
    SETTLED,
    SUPPOSED,
    Comparative,
    Kind,
    speaks_of_no_result,
)

# An effect that would matter is left out; version 0.1.0 had one word for this and for what was not seen.
UNCHANGED = ("no effect", "within noise")
_BASE = re.compile(
    r"\b(?:relative to|compared (?:with|to)|over|against|than|versus|vs\.?|beside|from|on)\s+(?:(?:in|for|with"
    r"|that|those) )?"
    r"(?:(?:of|in|for) )?(?:the )?$",
    re.IGNORECASE,
)
_PERFORMANCE = re.compile(
    r"\b(?:performance|baselines?|quality|prior work|results|interpretability|existing|previous|methods|SAEs)\b",
    re.IGNORECASE,
)
# A sentence that names no run goes on about the last one only where it points back.
_POINTING = re.compile(
    r"\b(?:it|its|this|they|their|these|both|here|the (?:run|improvement|reduction|gain|decrease|drop))\b"
    r"|^\W*(?:the )?\w+ (?:is|was|are|were|has)\b",
    re.I,
)
NEAR = 60


@dataclass(frozen=True)
class _Clause:
    start: int
    end: int


def check_claims(sentence: Sentence, evidence: Evidence, context: Context) -> Iterator[Fault]:
    """Check the comparative words of a sentence.

    Args:
        sentence: The sentence.
        evidence: The campaign.
        context: What was spoken of before.

    Returns:
        A fault for each claim that the verdicts do not bear out.
    """
    text = sentence.text
    names_ours = bool(sentence.named_sources or sentence.references or OURS.search(text))
    if CITED in text and not (_runs(sentence.named_sources) or sentence.references or OURS.search(text)):
        return
    if not (names_ours or sentence.passage.run or sentence.metrics):
        return
    found = list(_comparatives(sentence))
    hedged = any(word.kind in ("noise", "void") for word, _ in found)
    for word, match in found:
        clause = _clause(text, match)
        if _is_supposed(match, clause, sentence, evidence) or speaks_of_no_result(word, match, text):
            continue
        if CITED in text[clause.start : clause.end] and names_ours and not _is_ours(clause, sentence):
            continue
        yield from _check(word, match, clause, sentence, evidence, context, hedged)


def held(sentence: Sentence, evidence: Evidence, context: Context) -> tuple[bool, list[tuple[int, int]]]:
    """Tell which comparative words of a sentence were held against a verdict.

    Args:
        sentence: The sentence.
        evidence: The campaign.
        context: What was spoken of before.

    Returns:
        Whether any was, and the places of those, with the ones that claim nothing: supposed, or of no result.
    """
    judged, spans = False, []
    for word, match in _comparatives(sentence):
        clause = _clause(sentence.text, match)
        if _is_supposed(match, clause, sentence, evidence) or speaks_of_no_result(word, match, sentence.text):
            spans.append(match.span())
            continue
        # That something is not so, of no run in particular, claims nothing.
        if NEGATION.search(sentence.text[max(clause.start, match.start() - 60) : match.start()]):
            spans.append(match.span())
        subjects, _ = _sides(clause, sentence, evidence, context)
        overall = word.strong and word.kind in ("better", "worse", "same", "noise", "void")
        named = overall and any(clause.start <= m.start < clause.end for m in sentence.sources)
        if subjects and (named or _metrics(word, match, clause, sentence)):
            judged = True
            spans.append(match.span())
    return judged, spans


def _is_supposed(match: re.Match[str], clause: _Clause, sentence: Sentence, evidence: Evidence) -> bool:
    """Tell whether a comparison is only asked, planned or expected; of a scored run it has to be said of it itself."""
    text = sentence.text
    if not SUPPOSED.search(text[clause.start : clause.end]):
        return False
    inside = [m for m in sentence.sources if clause.start <= m.start < clause.end]
    if not any(name in evidence.runs for mention in inside for name in mention.names):
        return True
    before = text[clause.start : match.start()]
    if ASKED.search(before):
        return SETTLED.search(text) is None
    expected = EXPECTED.search(before) or EXPECTED_BEHIND.match(text, match.end())
    return expected is not None or text.rstrip().endswith("?")


def _comparatives(sentence: Sentence) -> Iterator[tuple[Comparative, re.Match[str]]]:
    """The comparative words, none inside a metric's name or another one."""
    taken = [(m.start, m.end) for m in sentence.metrics]
    for word in COMPARATIVES:
        for match in word.pattern.finditer(sentence.text):
            if not any(match.start() < end and start < match.end() for start, end in taken):
                taken.append(match.span())
                yield word, match


def _is_ours(clause: _Clause, sentence: Sentence) -> bool:
    """Tell whether a clause with a citation speaks of this campaign all the same."""
    inside = [m for m in sentence.sources if clause.start <= m.start < clause.end]
    referred = any(clause.start <= place < clause.end for place, _, _ in sentence.referred_terms)
    return bool(_runs([name for m in inside for name in m.names]) or referred) or (
        OURS.search(sentence.text, clause.start, clause.end) is not None
    )


def _clause(text: str, match: re.Match[str]) -> _Clause:
    cuts = [0, *(c.start() for c in CLAUSES.finditer(text) if not match.start() <= c.start() < match.end()), len(text)]
    start = max(cut for cut in cuts if cut <= match.start())
    return _Clause(start, min(cut for cut in cuts if cut >= match.end()))


def _check(
    word: Comparative,
    match: re.Match[str],
    clause: _Clause,
    sentence: Sentence,
    evidence: Evidence,
    context: Context,
    hedged: bool,
) -> Iterator[Fault]:
    place = sentence.passage.start + match.start()
    metrics = _metrics(word, match, clause, sentence)
    subjects, bases = _sides(clause, sentence, evidence, context)
    if not subjects:
        if not hedged:
            yield from _about_nothing(word, match, clause, sentence, metrics)
        return
    if not metrics and word.kind not in ("noise", "void"):
        spoken_of = any(clause.start <= m.start < clause.end for m in sentence.sources) and word.strong
        if not spoken_of:
            return
        metrics = [Mention(0, 0, (name,)) for name in _headlines(evidence)]
        yield from _check_overall(word, match, metrics, subjects, bases, sentence, evidence)
        return
    negated = NEGATION.search(sentence.text[max(clause.start, match.start() - 40) : match.start()]) is not None
    for subject in subjects:
        for mention in metrics:
            base = next((b for b in bases if b != subject), evidence.base_of(subject))
            reason = _refuted(word, negated, hedged, subject, mention.names, base, evidence)
            if reason:
                yield Fault(place, f"'{match[0]}': {reason}", _honest(subject, mention.names, base, evidence))
                return


def _metrics(word: Comparative, match: re.Match[str], clause: _Clause, sentence: Sentence) -> list[Mention]:
    """The metrics that a comparative speaks of: those of its clause, else the nearest of the sentence."""
    terms = [
        (place, metric)
        for place, _, metric in sentence.referred_terms
        if not metric.startswith(("settings.", "training."))
    ]
    referred = [Mention(place, place + 1, (metric,)) for place, metric in terms]
    every = [*sentence.metrics, *referred]
    inside = [m for m in every if clause.start <= m.start < clause.end]
    words = [m for m in inside if m in sentence.metrics]
    if not word.strong and word.kind not in ("noise", "void"):
        return [m for m in words or inside if _distance(m, match, sentence.text) <= NEAR]
    if words or inside:
        # L0 beside another metric says at which sparsity it was read.
        chosen = words or inside
        return [m for m in chosen if m.names != ("core.l0",)] or chosen
    if word.kind in ("noise", "void") or referred:
        before = [m for m in sentence.metrics or every if m.start < match.start()]
        return before[-1:] if before else list(sentence.metrics or every)
    return []


def _distance(mention: Mention, match: re.Match[str], text: str) -> int:
    """The characters between a metric and a word; references between them take no room when they are read."""
    first, last = sorted(((mention.start, mention.end), match.span()))
    between = text[first[1] : last[0]]
    return len(between) - between.count(REFERRED)


def _runs(names: list[str]) -> list[str]:
    """Those of the names that are runs, also of runs that never were."""
    return [name for name in names if re.fullmatch(r"run_\d+", name)]


def _sides(clause: _Clause, sentence: Sentence, evidence: Evidence, context: Context) -> tuple[list[str], list[str]]:
    """The two sides of a comparison."""
    mentions = [
        *sentence.sources,
        *(Mention(place, place + 1, (source,)) for place, source, _ in sentence.referred_terms),
    ]
    inside = [m for m in mentions if clause.start <= m.start < clause.end]
    chosen = inside if _runs([n for m in inside for n in m.names]) else mentions
    named = list(dict.fromkeys(name for m in chosen for name in m.names))
    runs = _runs(named)
    behind = [
        name
        for m in [*inside, *chosen]
        if m.end - m.start > 1 and _BASE.search(sentence.text[: m.start])
        for name in m.names
    ]
    others = [name for name in named if name not in runs]
    bases = resolve([*behind, *others], runs, evidence)
    first = sentence.sources[0] if sentence.sources else None
    if first and len(runs) == 2 and re.search(r"\bbetween\s+$", sentence.text[: first.start], re.IGNORECASE):
        return runs[1:], runs[:1]
    subjects = [run for run in runs if run not in behind]
    if not runs:
        spoken = _runs(list(context.sources)) if _POINTING.search(sentence.text) else []
        carried = [sentence.passage.run] if sentence.passage.run else spoken
        if carried and (others or sentence.metrics or sentence.references):
            return carried[:1] if len(carried) == 1 else carried, resolve(others, carried, evidence)
        groups = [name for name in others if name in evidence.groups]
        return (groups[:1], groups[1:]) if len(groups) > 1 else ([], [])
    return subjects or runs[:1], bases or ([runs[-1]] if len(runs) > 1 and not subjects else [])


def _about_nothing(
    word: Comparative, match: re.Match[str], clause: _Clause, sentence: Sentence, metrics: list[Mention]
) -> Iterator[Fault]:
    """A claim about ours that names no run: nothing can bear it out."""
    inside = sentence.text[clause.start : clause.end]
    ours = OURS.search(sentence.text, clause.start, match.end())
    if word.kind in ("noise", "void") or not ours:
        return
    after = [m for m in metrics if clause.start <= m.start]
    if not after and not (word.strong and _PERFORMANCE.search(inside)):
        return
    if NEGATION.search(sentence.text[clause.start : match.start()]):
        return
    place = sentence.passage.start + match.start()
    yield Fault(place, f"'{match[0]}' is said of no run: name the run, and refer to its result and its baseline's")


def _headlines(evidence: Evidence) -> list[str]:
    group = next(iter(evidence.groups.values()), None)
    metrics = group.metrics if group else {}
    return [name for name, value in metrics.items() if value.headline and value.better] or list(metrics)


def _check_overall(
    word: Comparative,
    match: re.Match[str],
    metrics: list[Mention],
    subjects: list[str],
    bases: list[str],
    sentence: Sentence,
    evidence: Evidence,
) -> Iterator[Fault]:
    """A claim about a run as a whole has to hold somewhere, and be contradicted nowhere."""
    if word.kind not in ("better", "worse", "same"):
        return
    negated = NEGATION.search(sentence.text[max(0, match.start() - 40) : match.start()]) is not None
    for subject in subjects:
        base = next((b for b in bases if b != subject), evidence.base_of(subject))
        verdicts = {m.names[0]: evidence.judge(subject, m.names[0], base).verdict for m in metrics}
        if word.kind == "same":
            holds = all(verdict in UNCHANGED for verdict in verdicts.values())
        else:
            wanted, other = ("improved", "worse") if word.kind == "better" else ("worse", "improved")
            holds = wanted in verdicts.values() and other not in verdicts.values()
        if holds == negated:
            found = "; ".join(f"{name} {verdict}" for name, verdict in verdicts.items() if verdict not in UNCHANGED)
            reason = f"'{match[0]}' does not hold for {subject} beside {base}: {found or 'no effect on any'}"
            yield Fault(sentence.passage.start + match.start(), reason)
            return


def _refuted(
    word: Comparative,
    negated: bool,
    hedged: bool,
    subject: str,
    metrics: tuple[str, ...],
    base: str,
    evidence: Evidence,
) -> str:
    """Why a claim does not hold; nothing where it does."""
    if subject in evidence.statuses and subject not in evidence.runs:
        return f"{subject} was not scored ({evidence.statuses[subject]}), so it supports nothing"
    if subject not in evidence.sources:
        return f"there is no {subject} in this campaign"
    judged = {name: evidence.judge(subject, name, base) for name in metrics}
    scored = {name: one for name, one in judged.items() if one.verdict not in ("no baseline", "not scored")}
    if not scored:
        return f"{metrics[0]} was not scored for {subject} and {base}, so it supports nothing"
    if word.kind in ("most", "least"):
        return _not_extreme(word.kind, subject, next(iter(scored)), evidence)
    holds = [_holds(word, hedged, one, subject, name, base, evidence) for name, one in scored.items()]
    if word.kind in ("same", "noise"):
        borne_out = all(holds)
    else:
        opposed = any(_opposes(word.kind, one) for one in scored.values())
        borne_out = any(holds) and not opposed
    if word.kind == "void":
        # A baseline that was matched to the run does not make it comparable with the others.
        beside = [evidence.judge(subject, name, group).verdict for name in scored for group in evidence.groups]
        negated, borne_out = False, "not comparable" in beside
    if borne_out != negated:
        return ""
    name, one = next(iter(scored.items()))
    why = f" ({one.why})" if one.why else ""
    said = "does not hold although it is denied" if negated else "does not hold"
    return f"{said} for {subject}: {name} beside {base} is {one.verdict}{why}"


def _holds(
    word: Comparative, hedged: bool, one: Judgement, subject: str, metric: str, base: str, evidence: Evidence
) -> bool:
    delta = one.delta or 0.0
    outside = one.verdict in ("improved", "worse", "changed")
    if hedged and not word.strong and word.kind in ("up", "down"):
        return delta > 0 if word.kind == "up" else delta < 0
    match word.kind:
        case "better":
            return one.verdict == "improved"
        case "worse":
            return one.verdict == "worse"
        case "up":
            return outside and delta > 0
        case "down":
            return outside and delta < 0
        case "same":
            return one.verdict in (*UNCHANGED, "improved")
        case "noise":
            return one.verdict in (*UNCHANGED, "undecided")
        case "void":
            return one.verdict == "not comparable"
    own, theirs = evidence.lookup(subject, metric), evidence.lookup(base, metric)
    ratio = own.value / theirs.value if own and theirs and theirs.value else 0.0
    return outside and (0.45 <= ratio <= 0.55 if word.kind == "half" else 1.8 <= ratio <= 2.2)


def _opposes(kind: Kind, one: Judgement) -> bool:
    delta = one.delta or 0.0
    match kind:
        case "better":
            return one.verdict == "worse"
        case "worse":
            return one.verdict == "improved"
        case "up":
            return one.verdict in ("improved", "worse", "changed") and delta < 0
        case "down":
            return one.verdict in ("improved", "worse", "changed") and delta > 0
    return False


def _not_extreme(kind: Kind, subject: str, metric: str, evidence: Evidence) -> str:
    values = {name: value.value for name in evidence.runs if (value := evidence.lookup(name, metric))}
    if subject not in values:
        return ""
    best = (max if kind == "most" else min)(values, key=lambda name: values[name])
    return (
        ""
        if values[best] == values[subject]
        else f"the {metric} of {best} is {'higher' if kind == 'most' else 'lower'}"
    )


def _honest(subject: str, metrics: tuple[str, ...], base: str, evidence: Evidence) -> str:
    if subject not in evidence.sources:
        return ""
    name = next((m for m in metrics if evidence.lookup(subject, m)), metrics[0])
    one = evidence.judge(subject, name, base)
    return "" if one.verdict == "no baseline" else f"say that {name} of {subject} is {one.verdict} beside {base}"
