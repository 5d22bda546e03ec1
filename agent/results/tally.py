"""The many comparisons of a campaign counted, so that nobody takes the best of them for a finding."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.results.compare import OUTSIDE, Comparison
from agent.results.noise import LEVEL, false_discovery_rates


@dataclass(frozen=True)
class Tally:
    """The number of comparisons of a run's headline metric with its baseline, and their outcome.

    Args:
        made: Those that have a direction and an interval.
        outside: Those whose interval leaves out 0.
        kept: Run and metric of those that are still outside when one in twenty of all that are called so may be wrong
            (Benjamini and Hochberg 1995), the surest first.
        goal: The runs whose goal still improved when one campaign in twenty without any effect may name one
            (Holm 1979), the surest first.
    """

    made: int
    outside: int
    kept: tuple[tuple[str, str], ...] = ()
    goal: tuple[str, ...] = ()

    @property
    def expected(self) -> float:
        """The number that would leave out 0 were there no effect at all."""
        return 0.05 * self.made


def count_outside(comparisons: Iterable[Comparison], goal: str = "") -> Tally:
    """Count the headline metrics that were judged, and those whose interval leaves out 0.

    Args:
        comparisons: One for each run.
        goal: The metric that runs are to improve.
    """
    made = list(comparisons)
    judged = [
        (row.p, comparison.run.name, row)
        for comparison in made
        for row in comparison.rows
        if row.value.headline and row.value.better and row.judged and row.p is not None
    ]
    goals = _holm(made, goal)
    if not judged:
        return Tally(0, 0, goal=goals)
    adjusted = false_discovery_rates([p for p, _, _ in judged])
    sure = sorted((p, run, row.metric) for p, (_, run, row) in zip(adjusted, judged) if p <= 1 - LEVEL)
    outside = sum(row.verdict in OUTSIDE for _, _, row in judged)
    return Tally(len(judged), outside, tuple((run, metric) for _, run, metric in sure), goals)


def _holm(comparisons: Sequence[Comparison], goal: str) -> tuple[str, ...]:
    """The runs whose goal improved, judged as the best of so many: the surest at the level of all, and so on."""
    rows = [(comparison.run.name, row) for comparison in comparisons if (row := comparison.row(goal)) and row.judged]
    # At a look that spends less than the whole error a p counts for as much more.
    sure = sorted(
        (row.p * (1 - LEVEL) / (1 - row.level), name, row.verdict == "improved")
        for name, row in rows
        if row.p is not None
    )
    names: list[str] = []
    for place, (p, name, better) in enumerate(sure):
        if p > (1 - LEVEL) / (len(sure) - place):
            break
        names += [name] if better else []
    return tuple(names)
