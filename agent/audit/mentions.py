"""Mentions in a sentence: runs and baselines, metrics, and numerals with the digits they were given at."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from agent.audit.document import Document, Reference
from agent.audit.evidence import NOISE, Evidence
from agent.audit.metric_names import metric_names
from agent.audit.passages import Passage
from agent.results.expressions import REFERENCE

_LIST = r"\d+(?:(?:\s*,\s*(?:and\s+|or\s+)?|\s+and\s+|\s+or\s+|\s*(?:-|–|—|to|through)\s*)\d+)*"
_RUNS = re.compile(rf"\bruns?[_ ]{{0,2}}(?P<numbers>{_LIST})\b(?!\.\d|%)", re.IGNORECASE)
_ONE_RUN = re.compile(r"\brun[_ ]{0,2}(?P<numbers>\d+)\b", re.IGNORECASE)
_ALL_BUT = re.compile(
    r"\b(?:all|every|each|the)(?: other)? runs? (?:but|except(?: for)?|besides"
    r"|other than) run[_ ]{0,2}(?P<number>\d+)\b",
    re.I,
)
_ALL = re.compile(
    r"\b(?:all|every one|each) (?:of )?(?:the |our |these )?(?:two |three |four |five |six )?(?:scored )?runs?\b", re.I
)
_NUMERAL = re.compile(
    r"(?<![\w.^])(?<![\w]-)(?P<sign>[+−–-](?=[\d.]))?"
    r"(?P<digits>\d{1,3}(?:,{1,3}\d{3})+(?:\.\d+)?(?!\d)|\d+\.\d+|\.\d+|\d+)(?:[eE](?P<exponent>[+-]?\d+))?"
    r"(?P<scale>[kMB](?![\w]))?(?P<unit>\s{0,2}(?:%|percent(?:age points?)?\b|per cent\b)"
    r"|\s?(?:[×x](?![\w])))?(?![\w])",
)


@dataclass(frozen=True)
class Mention:
    """Where something is named, and what: sources or metrics, several where the words leave it open."""

    start: int
    end: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class Numeral:
    """A number as it is written.

    Args:
        start: Where it starts in the passage.
        end: Where it ends, its unit included.
        text: As written.
        value: What it says.
        step: The size of a one in its last digit.
        percent: Whether it is a percentage.
        times: Whether it is a factor (`2x`).
        signed: Whether a sign stands before it.
        spread: Whether it stands behind a plus-minus sign.
    """

    start: int
    end: int
    text: str
    value: float
    step: float
    percent: bool
    times: bool
    signed: bool
    spread: bool

    def says(self, number: float) -> bool:
        """Tell whether a number is written so when it is rounded to these digits."""
        error = abs(number - self.value)
        if error > self.step / 2 * (1 + 1e-9) + 1e-12:
            return False
        # One digit says little: it has to come near all the same.
        significant = len(re.sub(r"\D", "", self.text.partition("e")[0]).lstrip("0"))
        return significant > 1 or error <= 0.05 * abs(number)


@dataclass(frozen=True)
class Sentence:
    """A passage with what it names."""

    passage: Passage
    sources: tuple[Mention, ...]
    metrics: tuple[Mention, ...]
    numerals: tuple[Numeral, ...]
    references: tuple[Reference, ...]

    @property
    def text(self) -> str:
        """The masked text."""
        return self.passage.text

    @cached_property
    def named_sources(self) -> list[str]:
        """All sources that are named in words, each once."""
        return _once(name for mention in self.sources for name in mention.names)

    @cached_property
    def named_metrics(self) -> list[str]:
        """All metrics that are named in words, each once."""
        return _once(name for mention in self.metrics for name in mention.names)

    @cached_property
    def referred_terms(self) -> list[tuple[int, str, str]]:
        """The results that references name: place in the passage, source, metric."""
        return [
            (one.start - self.passage.start, term["source"], term["metric"])
            for one in self.references
            for term in REFERENCE.finditer(one.expression.replace("\\_", "_"))
            if term["source"] != NOISE
        ]


class Reader:
    """Finds what sentences name.

    Args:
        evidence: The campaign: which runs, baselines and metrics there are.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self._metrics = metric_names(evidence)
        self._sources = _source_patterns(evidence)
        self._known: dict[str, tuple[tuple[Mention, ...], tuple[Mention, ...]]] = {}

    def read(self, document: Document, passage: Passage) -> Sentence:
        """A passage with what it names."""
        end = passage.start + len(passage.text)
        references = tuple(one for one in document.references if passage.start <= one.start < end)
        if passage.kind == "row":
            # The cells of a row do not stand side by side in the document.
            references = tuple(
                one
                for one in document.references
                if any(cell.start <= one.start < cell.start + len(cell.text) for cell in passage.cells)
            )
        return self.read_text(passage, references)

    def read_text(self, passage: Passage, references: tuple[Reference, ...] = ()) -> Sentence:
        """A text with what it names."""
        sources, metrics = self._named(passage.text)
        taken = [(mention.start, mention.end) for mention in (*sources, *metrics)]
        numerals = tuple(n for n in find_numerals(passage.text) if not any(s <= n.start < e for s, e in taken))
        return Sentence(passage, sources, metrics, numerals, references)

    def _named(self, text: str) -> tuple[tuple[Mention, ...], tuple[Mention, ...]]:
        # The header of a table is read again for each of its rows.
        if text not in self._known:
            self._known[text] = self.sources(text), self.metrics(text)
        return self._known[text]

    def metrics(self, text: str) -> tuple[Mention, ...]:
        """The metrics that a text names."""
        found = _longest(Mention(*one) for one in self._metrics.find(text))
        # "F1 on split latents" is an F1.
        return tuple(
            mention
            for place, mention in enumerate(found)
            if not place or not re.fullmatch(r"\s+on\s+(?:the )?", text[found[place - 1].end : mention.start])
        )

    def sources(self, text: str) -> tuple[Mention, ...]:
        """The runs and baselines that a text names."""
        found = [
            Mention(match.start(), match.end(), names)
            for pattern, names in self._sources
            for match in pattern.finditer(text)
        ]
        plural = re.compile(r"\bruns", re.IGNORECASE)
        for match in (_RUNS if plural.search(text) else _ONE_RUN).finditer(text):
            numbers = match["numbers"] if plural.match(match[0]) else re.match(r"\d+", match["numbers"])[0]  # type: ignore[index]
            end = match.start("numbers") + len(numbers)
            found.append(Mention(match.start(), end, tuple(f"run_{n}" for n in _numbers(numbers))))
        for match in _ALL_BUT.finditer(text):
            others = tuple(name for name in self.evidence.runs if name != f"run_{match['number']}")
            found.append(Mention(match.start(), match.end(), others))
        everywhere = tuple(self.evidence.runs)
        found += [Mention(match.start(), match.end(), everywhere) for match in _ALL.finditer(text)]
        return _longest(found)


def find_numerals(text: str) -> list[Numeral]:
    """The numbers in a text that are no part of a name."""
    made = []
    for found in _NUMERAL.finditer(text):
        before = text[: found.start()].rstrip()
        # A hyphen or a dot that ties the number to a word makes it a name, gemma-2 for one.
        digits = re.sub(r",+", "", found["digits"])
        decimals = len(digits.partition(".")[2])
        exponent = int(found["exponent"] or 0)
        scale = {"k": 1e3, "M": 1e6, "B": 1e9}.get(found["scale"] or "", 1.0) * 10.0 ** max(-300, min(300, exponent))
        unit = (found["unit"] or "").strip()
        sign = -1 if found["sign"] in ("-", "−", "–") else 1
        if found["sign"] == "–" and re.search(r"\d$", before):
            sign = 1
        made.append(
            Numeral(
                found.start(),
                found.end(),
                found[0].strip(),
                sign * float(digits) * scale,
                10.0**-decimals * scale,
                unit.startswith(("%", "per")),
                unit in ("×", "x"),
                bool(found["sign"]),
                before.endswith(("±", "+-", "+/-")) or found[0].startswith("±"),
            )
        )
    return made


def _numbers(text: str) -> list[int]:
    parts = re.findall(r"\d+|-|–|—|to|through", text)
    numbers: list[int] = []
    for place, part in enumerate(parts):
        if part.isdigit():
            if place and not parts[place - 1].isdigit() and numbers:
                numbers += range(numbers[-1] + 1, min(int(part), numbers[-1] + 100))
            numbers.append(int(part))
    return numbers


def _source_patterns(evidence: Evidence) -> list[tuple[re.Pattern[str], tuple[str, ...]]]:
    made: list[tuple[re.Pattern[str], tuple[str, ...]]] = []
    groups = tuple(evidence.groups)
    for name, group in evidence.known_baselines.items():
        spoken = re.escape(name) if name != "topk" else r"top[- ]?k"
        # An architecture is a source as "the TopK baseline"; "a TopK SAE with the penalty" is not.
        kind = (
            r"(?!(?:[- ]SAEs?)?[ ]*(?:loss|activation|function|latents|encoder|architecture|with"
            r"|SAEs?\b(?! baselines?)))"
        )
        made.append(
            (
                re.compile(
                    rf"(?<![\w:])(?<!\ba )(?<!uses )(?:the )?{spoken}(?:(?: SAEs?)? baselines?|(?!\w){kind})", re.I
                ),
                (name,),
            )
        )
        for run in group.runs:
            made.append((re.compile(rf"\b{re.escape(run.name).replace('_', '_{1,2}')}\b", re.I), (run.name,)))
    for name in evidence.fresh:
        made.append((re.compile(rf"\b{re.escape(name).replace('_', '_{1,2}')}\b", re.I), (name,)))
    if groups:
        made.append((re.compile(r"\bbaselines\b", re.I), groups))
        made.append((re.compile(r"\b(?:the )?baseline(?:'s|’s)?(?! seeds?\b)\b", re.I), ("baseline",)))
    return made


def _longest(mentions: Iterable[Mention]) -> tuple[Mention, ...]:
    kept: list[Mention] = []
    for mention in sorted(mentions, key=lambda one: (one.start - one.end, one.start)):
        if not any(mention.start < other.end and other.start < mention.end for other in kept):
            kept.append(mention)
    return tuple(sorted(kept, key=lambda one: one.start))


def _once(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
