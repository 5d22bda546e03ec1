"""Finding what a text calls metrics: their own names, and those that the lab's evaluations give them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.audit.evidence import Evidence

Found = tuple[int, int, tuple[str, ...]]

# Spoken of as a metric is, and measured by no evaluation.
_OF_TRAINING = {"training.seconds": ("training time", "wall-clock time", "wallclock time", "seconds of training")}
_WORD = re.compile(r"[^\W_]+")
_ENDINGS = ("", "s", "es", "ed", "ing")
_BEFORE = re.compile(r"(?<![\w.])(?:mean|average)[_ -]{1,2}$", re.IGNORECASE)
_BEHIND = re.compile(r"[ -](?:score|rate|value)s?(?!\w)", re.IGNORECASE)


class MetricNames:
    """Finds the metrics that a text names.

    Args:
        called: For each metric, `core.l0` for one, what it is called beside that. A name may be shared.
    """

    def __init__(self, called: Mapping[str, Iterable[str]]) -> None:
        meant: dict[str, list[str]] = {}
        for metric, names in called.items():
            for name in dict.fromkeys(map(_normal, (*_own(metric), *names))):
                meant.setdefault(name, []).append(metric)
        self._by_first_word: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
        for name, metrics in meant.items():
            for first in _WORD.findall(name)[:1]:
                for ending in _ENDINGS:
                    self._by_first_word.setdefault(f"{first}{ending}", []).append((name, tuple(metrics)))

    def find(self, text: str) -> Iterator[Found]:
        """Start, end and metrics of each name in a text, once as it is given and once with "mean" and "score"."""
        given = [
            (match.start(), match.end(), metrics)
            for word in _WORD.finditer(text)
            for name, metrics in self._by_first_word.get(word[0].lower(), ())
            if (match := _pattern(name).match(text, word.start()))
        ]
        yield from given
        for start, end, metrics in given:
            before, behind = _BEFORE.search(text, 0, start), _BEHIND.match(text, end)
            yield before.start() if before else start, behind.end() if behind else end, metrics


def metric_names(evidence: "Evidence") -> MetricNames:
    """The names of a campaign's metrics, and, where it asks for them, of those that no run of it was scored by.

    Args:
        evidence: The campaign. What its results say of names comes before what the lab says now.
    """
    described = {}
    if evidence.unscored:
        from lab.evals import metrics

        described = metrics()
    headline = {name: metric.headline for name, metric in described.items()}
    called = {**_OF_TRAINING, **{name: metric.names for name, metric in described.items()}}
    results = [run for group in (*evidence.groups.values(), *evidence.runs.values()) for run in group.runs]
    for result in results:
        for name, value in result.metrics.items():
            headline[name] = value.headline
            called[name] = value.names or called.get(name, ())
    # Of several metrics that share a name, one that tables show is more likely meant.
    return MetricNames({name: called[name] for name in sorted(called, key=lambda name: not headline.get(name))})


def _own(metric: str) -> Iterator[str]:
    """A metric's own name in whole, without its evaluation, and without what only says how it was computed."""
    yield metric
    short = metric.partition(".")[2]
    yield short
    brief = short.removeprefix("mean_").removesuffix("_score")
    if "_" in brief:
        yield brief


def _normal(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.lower())


@cache
def _pattern(name: str) -> re.Pattern[str]:
    """The ways in which a normal name may be written."""
    said, _, rest = name.partition(" … ")
    words = (re.escape(word) + ("(?:[_ -]the)?" if word in ("of", "in") else "") for word in said.split(" "))
    pattern = "[_ -]{1,2}".join(words)
    if rest:
        pattern += rf"(?:{'|'.join(_ENDINGS)})(?=[^;]{{0,24}} {re.escape(rest)}(?!\w))"
    elif said[-1].isalpha():
        pattern += "s?"
    return re.compile(rf"(?<![\w.]){pattern}(?!\w)", re.IGNORECASE)
