"""Tell whether a text reports every scored run, or says why it leaves one out."""

import re
from collections.abc import Iterable, Iterator

from agent.audit.binding import Context
from agent.audit.evidence import Evidence
from agent.audit.mentions import Sentence

_LEFT_OUT = re.compile(
    r"\b(?:left out|leaves? out|leaving out|omit(?:s|ted)?|exclud(?:es|ed)|not (?:reported|shown|discussed))\b", re.I
)
_REASON = re.compile(r"\b(?:because|since|as|for|due to|whose|so)\b|[:(]", re.IGNORECASE)


def missing_runs(sentences: Iterable[tuple[Sentence, Context]], evidence: Evidence) -> Iterator[tuple[str, str]]:
    """The scored runs of which a text gives no result, and that it does not list as left out.

    Args:
        sentences: The text's sentences and rows, with what was spoken of before each.
        evidence: The campaign.

    Returns:
        Each such run, and what is wrong.
    """
    named: set[str] = set()
    reported: set[str] = set()
    for sentence, _ in sentences:
        runs = {name for name in sentence.named_sources if name in evidence.runs}
        if sentence.passage.kind == "row" and sentence.passage.run in evidence.runs:
            runs.add(sentence.passage.run)
        named |= runs
        reported |= {source for _, source, metric in sentence.referred_terms if not metric.startswith("settings.")}
        if _LEFT_OUT.search(sentence.text):
            rest = sentence.text[max((m.end for m in sentence.sources), default=0) :]
            if _REASON.search(rest) and len(rest.split()) >= 3:
                reported |= runs
            continue
        if sentence.passage.kind == "heading":
            continue
        if sentence.numerals:
            reported |= runs
            if sentence.passage.run and not runs and sentence.metrics:
                reported.add(sentence.passage.run)
        if sentence.passage.kind == "row":
            for title in sentence.passage.header:
                reported |= {f"run_{number}" for number in re.findall(r"\brun[_ ]{0,2}(\d+)", title)}
    for run in evidence.runs:
        if run not in reported:
            how = "is named, but no result of it is given" if run in named else "is not mentioned"
            yield run, f"{run} was scored and {how}: report it, or say that it is left out and why"
