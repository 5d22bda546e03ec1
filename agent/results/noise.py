"""The noise floor: how far two sets of runs must lie apart before seeds alone are no likely explanation.

Student 1908, "The probable error of a mean"; the interval for one new observation is in any text on regression, for
example Hahn and Meeker 1991, "Statistical intervals", section 4.7.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.95
# With two pairs one degree of freedom is left and the interval is 12.7 standard errors wide: no use.
FEWEST_PAIRS = 3

Samples = Sequence[tuple[int | None, float]]


@dataclass(frozen=True)
class Difference:
    """The difference of two sets of runs in one metric.

    Args:
        delta: Mean of ours minus mean of theirs.
        margin: Half the width of the 95% interval around 0 in which `delta` falls when only seeds differ; None where
            nothing tells how much seeds do.
        pairs: The number of seeds that both have, where the differences of these pairs were judged; else 0.
    """

    delta: float
    margin: float | None
    pairs: int = 0

    @property
    def outside(self) -> bool:
        """Tell whether seeds alone are no likely explanation."""
        return self.margin is not None and abs(self.delta) > self.margin


def difference(ours: Samples, theirs: Samples, noise: Samples = (), level: float = LEVEL) -> Difference:
    """Compare two sets of runs in one metric.

    Seeds that both have are compared in pairs where there are three or more: t(m - 1) * sd(differences) / sqrt(m).
    Else the spreads are pooled: t(f) * s * sqrt(1/m + 1/n). With one run of ours that is the prediction interval for
    one new run of theirs, t(n - 1) * sd * sqrt(1 + 1/n).

    Args:
        ours: Seed and value of each of our runs, at least one.
        theirs: The same of what they are compared with, at least one.
        noise: Runs of a third kind that tell how much seeds do, where ours and theirs are single runs.
        level: The share of intervals that hold the difference when only seeds differ.

    Returns:
        The difference and its margin.
    """
    paired = _pairs(ours, theirs)
    if len(paired) >= FEWEST_PAIRS:
        count = len(paired)
        width = student_t((1 + level) / 2, count - 1) * statistics.stdev(paired) / math.sqrt(count)
        return Difference(statistics.fmean(paired), width, count)
    groups = [[value for _, value in group] for group in (ours, theirs, noise)]
    mine, other = groups[0], groups[1]
    delta = statistics.fmean(mine) - statistics.fmean(other)
    freedom = sum(len(group) - 1 for group in groups if group)
    if freedom == 0:
        return Difference(delta, None)
    squares = sum(statistics.variance(group) * (len(group) - 1) for group in groups if len(group) > 1)
    spread = math.sqrt(squares / freedom)
    factor = math.sqrt(1 / len(mine) + 1 / len(other))
    return Difference(delta, student_t((1 + level) / 2, freedom) * spread * factor)


def student_t(probability: float, freedom: int) -> float:
    """A quantile of Student's t distribution.

    Args:
        probability: Between 0.5 and 1.
        freedom: Degrees of freedom, at least 1.

    Returns:
        The quantile.
    """
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))


def _pairs(ours: Samples, theirs: Samples) -> list[float]:
    """Our value minus theirs for each seed that both have."""
    known = {seed: value for seed, value in theirs if seed is not None}
    return [value - known[seed] for seed, value in ours if seed in known]
