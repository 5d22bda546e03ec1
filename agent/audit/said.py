"""Checks of what a model says of its runs, made before the loop writes it into the notes."""

import re

from agent.audit import Item, audit
from agent.audit.document import make_document
from agent.audit.evidence import Evidence
from agent.audit.metric_names import MetricNames, metric_names
from agent.audit.words import COMPARATIVES, SUPPOSED

SHOWN = 6
_CUT = re.compile(r"\s*(?:[:;,(]|\s[–—-]\s|\b(?:so|that|which|to|for|by|and|while|without|since|as|because|at)\b)")
_AIM = re.compile(
    r"^\W*(?:reduce|lower|raise|increase|decrease|improve|cut|trim|suppress|maintain|preserve|retain|keep|match|double"
    r"|halve|drop|shrink|grow)\b",
    re.IGNORECASE,
)
_SIZE = re.compile(r"\d\s*%|\bper ?cent\b|\bat no cost\b", re.IGNORECASE)
_OF_RUNS = re.compile(r"\brun[_ ]?\d+\b|\bbaselines?\b|\btop[- ]?k\b|\brelu\b", re.IGNORECASE)
_A_RUN = re.compile(r"\brun[_ ]?(\d+)\b", re.IGNORECASE)


def faults_of_analysis(text: str, evidence: Evidence, about: int = 0) -> list[str]:
    """The faults of an analysis, a line each; a typed result is a fault even where it is right.

    Args:
        text: As the model wrote it, its references in braces.
        evidence: The campaign.
        about: The run whose section it will stand in; 0 for none.
    """
    heading = f"## Run {about}\n\n" if about else ""
    unsupported, claims = _findings(heading + text, evidence, strict=True)
    return _lines([*unsupported, *claims])


def faults_of_expectation(text: str, evidence: Evidence) -> list[str]:
    """The faults of a prediction that speaks of results as if it had them; what it expects is left alone."""
    unsupported, claims = _findings(text, evidence, strict=False)
    typed = [item for item in unsupported if _OF_RUNS.search(item.text)]
    claimed = [item for item in claims if _A_RUN.search(item.text)]
    return _lines([item for item in (*typed, *claimed) if not _only_expects(item.text, evidence)])


def _only_expects(text: str, evidence: Evidence) -> bool:
    """Tell whether a sentence supposes something of a run that is still to come."""
    runs = [f"run_{found[1]}" for found in _A_RUN.finditer(text)]
    return SUPPOSED.search(text) is not None and not any(run in evidence.runs for run in runs)


def faults_of_captions(captions: dict[str, str], evidence: Evidence) -> list[str]:
    """The faults of the descriptions of figures."""
    found = []
    for name, text in captions.items():
        unsupported, claims = _findings(text, evidence, strict=False)
        found += [f"{name}: {line}" for line in _lines([*unsupported, *claims])]
    return found


def without_claims(change: str, evidence: Evidence) -> str:
    """The line that names a change, cut where it begins to say what comes of it; nothing where it begins so.

    Args:
        change: The line.
        evidence: The campaign, for the names of its metrics.
    """
    names = metric_names(evidence)
    while change and _claims(change, names):
        cuts = [found.start() for found in _CUT.finditer(change)]
        change = change[: cuts[-1]] if cuts else ""
    return change.strip()


def _claims(text: str, names: MetricNames) -> bool:
    if _SIZE.search(text):
        return True
    compares = [match for word in COMPARATIVES for match in word.pattern.finditer(text)]
    if not compares or (_AIM.search(text) and not _A_RUN.search(text)):
        return False
    return _A_RUN.search(text) is not None or any(True for _ in names.find(text))


def _findings(text: str, evidence: Evidence, strict: bool) -> tuple[list[Item], list[Item]]:
    document = make_document(text, "md", evidence.folder / "notes.txt")
    found = audit(document, evidence, {}, whole=False, strict=strict)
    return found.unsupported, found.claims


def _lines(items: list[Item]) -> list[str]:
    said = [
        f"{item.reason}" + (f" (instead: {item.suggestion})" if item.suggestion else "") + f" — in: {item.text}"
        for item in items
    ]
    return said[:SHOWN] + ([f"and {len(said) - SHOWN} more"] if len(said) > SHOWN else [])
