"""Effects with their intervals: how far two sets of runs lie apart in one metric, and how sure that is.

Student 1908, "The probable error of a mean"; Welch 1947, "The generalization of Student's problem"; the interval for
one new observation is in any text on regression, for example Hahn and Meeker 1991, "Statistical intervals", section
4.7. A variance that is moderated by those of other groups is Smyth 2004, "Linear models and empirical Bayes methods".
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LEVEL = 0.95
POWER = 0.8
# Pairs of equal seeds are worth their loss of degrees of freedom from this correlation on; it takes some to know it.
CORRELATED, FEWEST_PAIRS = 0.6, 6
# Two spreads are taken to differ where equal ones would so rarely, and each is known from so many runs: three tell
# little, so what looks unequal is not taken for equal.
_UNEQUAL, _FEWEST_UNEQUAL = 0.2, 3
# The groups that it takes to tell how much variances differ between groups.
_FEWEST_GROUPS = 3
# The share of its degrees of freedom that a prior of few groups is trusted with: with all of them more than
# 5% of 95% intervals miss.
_TRUST = 0.5
MOST_SEEDS = 1000

Samples = Sequence[tuple[int | None, float]]


@dataclass(frozen=True)
class Spread:
    """The variance of seeds that groups of runs show, or lead to expect.

    Args:
        variance: Of one run, in the metric's unit squared.
        freedom: The degrees of freedom that it is worth.
    """

    variance: float
    freedom: float


@dataclass(frozen=True)
class Difference:
    """The difference of two sets of runs in one metric: an effect, and how sure it is.

    Args:
        delta: Mean of ours minus mean of theirs.
        margin: Half the width of the 95% interval of the effect, around `delta`; None where nothing tells how much
            seeds do.
        pairs: The number of seeds that both have, where the differences of these pairs were judged; else 0.
        error: The standard error of `delta`.
        freedom: Its degrees of freedom.
        spread: The standard deviation of one run.
        level: The share of such intervals that hold the true effect.
    """

    delta: float
    margin: float | None
    pairs: int = 0
    error: float | None = None
    freedom: float = 0.0
    spread: float | None = None
    level: float = LEVEL

    @property
    def outside(self) -> bool:
        """Tell whether 0 is outside the interval: seeds alone are no likely explanation."""
        return self.margin is not None and abs(self.delta) > self.margin

    @property
    def detectable(self) -> float | None:
        """The smallest true effect that would have been outside with a chance of 80%."""
        return None if self.error is None else _reach(self.freedom, self.level) * self.error

    @property
    def p(self) -> float | None:
        """The chance of an effect as large when only seeds differ, two-sided; None where that can't be told."""
        if self.error is None:
            return None
        if self.error == 0:
            return 0.0 if self.delta else 1.0
        from scipy.special import stdtr

        return 2 * float(stdtr(self.freedom, -abs(self.delta) / self.error))


def difference(
    ours: Samples,
    theirs: Samples,
    noise: Samples = (),
    level: float = LEVEL,
    prior: Spread | None = None,
    fewest_pairs: int = FEWEST_PAIRS,
) -> Difference:
    """Compare two sets of runs in one metric.

    Spreads are pooled: t(f) * s * sqrt(1/m + 1/n). With one run of ours that is the interval for one new run of theirs,
    t(n - 1) * sd * sqrt(1 + 1/n). Where both have three runs or more and their spreads differ it is Welch's interval.
    Seeds that both have are compared in pairs only where there are enough of them and a seed does the same to both.

    Args:
        ours: Seed and value of each of our runs, at least one.
        theirs: The same of what they are compared with, at least one.
        noise: Runs of a third kind that tell how much seeds do as well.
        level: The share of intervals that hold the true effect.
        prior: What other groups tell of the variance.
        fewest_pairs: The pairs from which on they are compared as such.

    Returns:
        The difference and its interval.
    """
    mine, other, third = ([value for _, value in group] for group in (ours, theirs, noise))
    delta = statistics.fmean(mine) - statistics.fmean(other)
    paired = _pairs(ours, theirs)
    if len(paired) >= fewest_pairs and (fewest_pairs < FEWEST_PAIRS or _correlation(paired) > CORRELATED):
        gaps = [one - two for one, two in paired]
        spread = statistics.stdev(gaps)
        return _effect(statistics.fmean(gaps), spread / math.sqrt(len(gaps)), len(gaps) - 1, spread, level, len(gaps))
    known = [_pooled(mine), _pooled(other, third)]
    if _unequal(*known):
        parts = [one.variance / len(group) for one, group in zip(known, (mine, other))]
        freedom = sum(parts) ** 2 / sum(part**2 / one.freedom for part, one in zip(parts, known))
        spread = math.sqrt(max(one.variance for one in known))
        return _effect(delta, math.sqrt(sum(parts)), freedom, spread, level)
    known += [prior] if prior else []
    freedom = sum(one.freedom for one in known)
    if freedom == 0:
        return Difference(delta, None)
    spread = math.sqrt(sum(one.variance * one.freedom for one in known) / freedom)
    return _effect(delta, spread * math.sqrt(1 / len(mine) + 1 / len(other)), freedom, spread, level)


def moderating(groups: Iterable[Sequence[float]]) -> Spread | None:
    """The prior that groups of runs give for the variance of another group, by the moments of their log variances.

    Args:
        groups: The values of one metric in groups that differ in more than their seed.

    Returns:
        The prior; None where there are fewer than three groups with a variance, so that nothing tells how much
        variances differ between groups.
    """
    from scipy.special import digamma, polygamma

    known = [(statistics.variance(group), len(group) - 1) for group in groups if len(group) > 1]
    known = [(variance, freedom) for variance, freedom in known if variance > 0]
    if len(known) < _FEWEST_GROUPS:
        return None
    logs = [math.log(variance) - float(digamma(free / 2)) + math.log(free / 2) for variance, free in known]
    centre = statistics.fmean(logs)
    excess = statistics.variance(logs) - statistics.fmean(float(polygamma(1, free / 2)) for _, free in known)
    total = sum(free for _, free in known)
    # Variances that differ no more than their estimates must are one variance, known as well as all of them together.
    half = _inverse_trigamma(excess) if excess > 0 else math.inf
    if 2 * half >= total:
        return Spread(sum(variance * free for variance, free in known) / total, _TRUST * total)
    return Spread(math.exp(centre + float(digamma(half)) - math.log(half)), _TRUST * 2 * half)


def seeds_needed(effect: float, spread: float) -> int | None:
    """The seeds of each side with which an effect would be seen with a chance of 80%.

    Args:
        effect: Its size, above 0.
        spread: The standard deviation of one run.

    Returns:
        The number of seeds, at least 2; None where it is above 1,000.
    """
    low, high = 2, MOST_SEEDS
    if _detected(effect, spread, high) is False:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _detected(effect, spread, middle) else (middle + 1, high)
    return low


def student_t(probability: float, freedom: float) -> float:
    """A quantile of Student's t distribution.

    Args:
        probability: Between 0.5 and 1.
        freedom: Degrees of freedom, above 0.

    Returns:
        The quantile.
    """
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))


def false_discovery_rates(chances: Sequence[float]) -> list[float]:
    """The share of false discoveries when each test with as small a chance counts (Benjamini and Hochberg 1995).

    Args:
        chances: For each test, the chance of what was seen were there nothing to see.

    Returns:
        For each test, the least such share at which it counts.
    """
    count, least = len(chances), 1.0
    rates = [least] * count
    for behind, place in enumerate(sorted(range(count), key=lambda each: chances[each], reverse=True)):
        least = min(least, chances[place] * count / (count - behind))
        rates[place] = least
    return rates


def _effect(delta: float, error: float, freedom: float, spread: float, level: float, pairs: int = 0) -> Difference:
    return Difference(delta, student_t((1 + level) / 2, freedom) * error, pairs, error, freedom, spread, level)


def _reach(freedom: float, level: float = LEVEL) -> float:
    """The standard errors of the smallest effect that is seen with a chance of 80%."""
    return student_t((1 + level) / 2, freedom) + student_t(POWER, freedom)


def _detected(effect: float, spread: float, seeds: int) -> bool:
    return _reach(2 * seeds - 2) * spread * math.sqrt(2 / seeds) <= effect


def _pairs(ours: Samples, theirs: Samples) -> list[tuple[float, float]]:
    """Our value and theirs for each seed that both have."""
    known = {seed: value for seed, value in theirs if seed is not None}
    return [(value, known[seed]) for seed, value in ours if seed in known]


def _correlation(pairs: Sequence[tuple[float, float]]) -> float:
    ours, theirs = zip(*pairs)
    if len(set(ours)) == 1 or len(set(theirs)) == 1:
        return 0.0
    return statistics.correlation(ours, theirs)


def _pooled(*groups: Sequence[float]) -> Spread:
    """The variance of one run within groups, and its degrees of freedom; none where each has one run."""
    known = [(statistics.variance(group), len(group) - 1) for group in groups if len(group) > 1]
    freedom = sum(count for _, count in known)
    return Spread(sum(variance * count for variance, count in known) / freedom if freedom else 0.0, freedom)


def _unequal(ours: Spread, theirs: Spread) -> bool:
    """Tell whether two spreads differ by more than chance lets equal ones differ (the F test of two variances)."""
    from scipy.special import fdtrc

    small, large = sorted((ours, theirs), key=lambda one: one.variance)
    if min(ours.freedom, theirs.freedom) < _FEWEST_UNEQUAL - 1 or small.variance == 0:
        return False
    return float(fdtrc(large.freedom, small.freedom, large.variance / small.variance)) < _UNEQUAL / 2


def _inverse_trigamma(value: float) -> float:
    """The x with trigamma(x) = value, above 0, by Newton's method on 1 / trigamma (Smyth 2004, appendix)."""
    from scipy.special import polygamma

    if value > 1e7:
        return 1 / math.sqrt(value)
    if value < 1e-6:
        return 1 / value
    x = 0.5 + 1 / value
    for _ in range(50):
        slope = float(polygamma(1, x))
        step = slope * (1 - slope / value) / float(polygamma(2, x))
        x += step
        if -step / x < 1e-8:
            break
    return x
