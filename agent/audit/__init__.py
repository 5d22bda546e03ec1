"""Checks a text about a campaign: its numbers, claims, citations and figures against what was measured and what ran."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace

from agent.audit.admitted import check_admitted
from agent.audit.bibliography import Entry
from agent.audit.binding import Context
from agent.audit.claims import check_claims, held
from agent.audit.coverage import missing_runs
from agent.audit.document import Document, make_document, read_document
from agent.audit.evidence import Evidence, gather, normalised
from agent.audit.markup import check_citations, check_figures, check_markup
from agent.audit.mentions import Reader, Sentence
from agent.audit.methods import Methods
from agent.audit.numbers import Fault, check_numbers, check_seeds
from agent.audit.passages import Passage, passages
from agent.audit.plain import asides, look_alike, unreadable, with_digits
from agent.audit.quoted import without_quotations
from agent.audit.references import check_references
from agent.audit.tables import check_row

__all__ = ["Document", "Evidence", "Findings", "Item", "audit", "gather", "make_document", "read_document"]

SHORTEST_QUOTATION = 12
_PIECES = re.compile(r"[:;] |[()]|$|^[-*] ")


@dataclass(frozen=True)
class Item:
    """A place in a text that something is wrong with."""

    line: int
    text: str
    reason: str
    suggestion: str = ""


@dataclass(frozen=True)
class Findings:
    """The findings of an audit.

    Args:
        unsupported: Numbers and references that no result bears out, and markup that would break.
        claims: Comparisons and methods that verdicts or code do not bear out.
        missing_runs: Scored runs that are neither reported nor listed as left out.
        citations: Works that the bibliography does not have.
        figures: Figures that are missing or empty.
    """

    unsupported: list[Item] = field(default_factory=list)
    claims: list[Item] = field(default_factory=list)
    missing_runs: list[Item] = field(default_factory=list)
    citations: list[Item] = field(default_factory=list)
    figures: list[Item] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Tell whether nothing was found."""
        return not any(asdict(self).values())

    def to_json(self) -> dict[str, list[dict[str, object]]]:
        """The findings, list by list."""
        return asdict(self)


def audit(
    document: Document,
    evidence: Evidence,
    bibliography: dict[str, Entry],
    whole: bool = True,
    strict: bool | None = None,
) -> Findings:
    """Check a text.

    Args:
        document: The text.
        evidence: The campaign that it is about.
        bibliography: What it may cite.
        whole: Whether it is all that is said of the campaign, so that every scored run has to be in it.
        strict: Whether typed results are refused even where they are right; None: where the text has references.

    Returns:
        What was found, in the order of the text.
    """
    reader, methods = Reader(evidence), Methods(evidence)
    document = without_quotations(document, evidence.quoted)
    numbers: list[Fault] = []
    claims: list[Fault] = []
    read: list[tuple[Sentence, Context]] = []
    context, section = Context(), ""
    for passage in passages(document):
        passage = _without_computed(passage, evidence)
        if passage.kind == "row":
            seen = evidence.beside([passage.run])
            numbers += check_row(passage, document, reader, seen)
            read.append((reader.read(document, passage), context))
            numbers += check_references(read[-1][0], seen)
            continue
        if passage.section != section:
            context, section = Context((passage.run,) if passage.run else ()), passage.section
        sentence = reader.read(document, passage)
        read.append((sentence, context))
        named = sentence.named_sources or context.sources
        seen = evidence.beside([passage.run] if passage.run in evidence.runs else named)
        numbers += check_references(sentence, seen)
        typed = document.strict if strict is None else strict
        numbers += check_numbers(sentence, seen, context, typed, document.form)
        numbers += check_seeds(sentence, seen)
        found = list(check_claims(sentence, seen, context)) or list(methods.check(sentence))
        if document.form == "tex" and not found:
            found = list(check_admitted(sentence, seen, *held(sentence, seen, context)))
        claims += found
        context = _next(context, sentence)
    for passage in _beside(document, evidence):
        sentence = reader.read_text(passage)
        seen = evidence.beside(sentence.named_sources)
        claims += check_claims(sentence, seen, Context())
        numbers += check_numbers(sentence, seen, Context(), strict=False)
    missing = [Item(0, run, reason) for run, reason in missing_runs(read, evidence)] if whole else []
    return Findings(
        unsupported=_items(document, [*numbers, *check_markup(document), *_unreadable(document)]),
        claims=_items(document, claims),
        missing_runs=missing,
        citations=_items(document, check_citations(document, bibliography)),
        figures=_items(document, check_figures(document, evidence.folder)),
    )


def _beside(document: Document, evidence: Evidence) -> Iterator[Passage]:
    """The lines that are no sentences of the text and can be read: listings of what is no code, comments, addresses."""
    code = {normalised(line) for each in (evidence.template, *evidence.code.values()) for line in each.splitlines()}
    texts = [(place, line) for place, line in document.listed if normalised(line) not in code]
    texts += asides(document.text, document.form)
    for place, line in texts:
        yield Passage("sentence", place, with_digits(look_alike(line)).replace("\\_", "__").replace("\\%", " %"))


def _unreadable(document: Document) -> Iterator[Fault]:
    if document.form == "tex":
        yield from (Fault(place, reason) for place, reason in unreadable(document.text))


def _next(context: Context, sentence: Sentence) -> Context:
    sources = tuple(sentence.named_sources) or tuple(dict.fromkeys(source for _, source, _ in sentence.referred_terms))
    if not any(name.startswith("run_") for name in sources):
        sources = context.sources or sources
    return Context(sources, tuple(sentence.named_metrics[-1:]) or context.metrics)


def _items(document: Document, faults: Iterable[Fault]) -> list[Item]:
    made = {
        Item(document.line(fault.place), document.line_text(fault.place), fault.reason, fault.suggestion)
        for fault in faults
    }
    return sorted(made, key=lambda item: (item.line, item.reason))


def _without_computed(passage: Passage, evidence: Evidence) -> Passage:
    """Blank out what the loop computed and no reference reaches, of a confirmation for one."""
    if passage.kind == "row":
        return passage
    text = passage.text
    for start, end in _pieces(text):
        piece = normalised(text[start:end])
        if len(piece) >= SHORTEST_QUOTATION and piece in evidence.computed and re.search(r"\d", piece):
            text = text[:start] + " " * (end - start) + text[end:]
    return replace(passage, text=text) if text != passage.text else passage


def _pieces(text: str) -> Iterable[tuple[int, int]]:
    yield 0, len(text)
    start = 0
    for found in _PIECES.finditer(text):
        yield start, found.start()
        start = found.end()
