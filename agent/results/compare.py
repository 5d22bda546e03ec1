"""Comparisons of a run's scores with others': confounds first, then verdicts outside a noise floor."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from agent.results.confounds import L0, L0_TOLERANCE, Confound, find_confounds, near
from agent.results.noise import difference
from agent.results.read import Group, RunResult, Value

Verdict = Literal["improved", "worse", "within noise", "changed", "not comparable", "not scored", "no baseline"]
JUDGED = ("improved", "worse", "changed", "within noise")
# An architecture of which there is no baseline is judged against this one, the strongest.
REFERENCE = "topk"
# Relative; float32 sums in another order may differ by as much, also where seeds differ by nothing, as L0 does in TopK.
ROUNDING = 1e-5


@dataclass(frozen=True)
class Row:
    """One metric of a run beside the baseline's.

    Args:
        metric: Its name.
        value: The run's, a mean where it has several seeds.
        baseline: The baseline's mean.
        delta: Run minus baseline.
        margin: Half the width of the interval that seeds alone explain.
        pairs: How many pairs of equal seeds were compared; 0 where spreads were pooled.
        verdict: What the difference means.
    """

    metric: str
    value: Value
    baseline: Value | None
    delta: float | None
    margin: float | None
    pairs: int
    verdict: Verdict

    @property
    def gain(self) -> float | None:
        """The difference in the direction that is better; None without a direction."""
        if self.delta is None or self.value.better is None:
            return None
        return self.delta if self.value.better == "higher" else -self.delta


@dataclass(frozen=True)
class Comparison:
    """A run against one group of others: a baseline, or an earlier run."""

    run: Group
    baseline: Group
    confounds: tuple[Confound, ...]
    rows: tuple[Row, ...]

    @property
    def comparable(self) -> bool:
        """Tell whether verdicts are given at all."""
        return not any(confound.blocks for confound in self.confounds)

    @property
    def only_l0(self) -> bool:
        """Tell if nothing but the L0 stands in the way of a verdict, so that a baseline at the run's L0 would do."""
        return [confound.what for confound in self.confounds if confound.blocks] == ["L0"]

    @property
    def wanted_k(self) -> int | None:
        """At which k a TopK baseline would make the run comparable; None where it is so, or would not become so."""
        own = self.run.lookup(L0)
        if own is None or not self.only_l0 or not own.value >= 0.5:
            return None
        k = round(own.value)
        return k if near(own.value, k, L0_TOLERANCE) else None

    @property
    def headline_verdicts(self) -> dict[str, str]:
        """The verdict of each headline metric."""
        return {row.metric: row.verdict for row in self.rows if row.value.headline}

    def row(self, metric: str) -> Row | None:
        """The row of a metric."""
        return next((row for row in self.rows if row.metric == metric), None)


@dataclass(frozen=True)
class Tally:
    """The number of comparisons of a run's headline metric with its baseline, and their outcome.

    Args:
        made: Those that have a direction and a noise floor.
        outside: Those that left it.
    """

    made: int
    outside: int

    @property
    def expected(self) -> float:
        """The number that would leave a 95% interval were there no effect at all."""
        return 0.05 * self.made


def count_outside(comparisons: Iterable[Comparison]) -> Tally:
    """Count the headline metrics that were judged, and those that left their noise floor.

    Args:
        comparisons: One for each run.
    """
    rows = [row for comparison in comparisons for row in comparison.rows if row.value.headline]
    judged = [row for row in rows if row.verdict in JUDGED and row.margin is not None and row.value.better]
    return Tally(len(judged), sum(row.verdict != "within noise" for row in judged))


def compare(
    run: RunResult | Group, baseline: Group, noise: Group | None = None, changed: Sequence[str] = ()
) -> Comparison:
    """Set a run beside a group of others.

    Args:
        run: The run, or runs of the same code with several seeds.
        baseline: Runs of one code that differ in their seed.
        noise: Runs that tell how much seeds do, where both of the above are single runs.
        changed: What changed since the baseline was made and stands in no training record.

    Returns:
        The confounds and one row for each metric of the run.
    """
    ours = run if isinstance(run, Group) else Group(run.name, (run,))
    confounds = find_confounds(ours, baseline, changed)
    comparable = not any(confound.blocks for confound in confounds)
    rows = tuple(_row(name, ours, baseline, noise, comparable) for name in ours.metrics)
    return Comparison(ours, baseline, confounds, rows)


def best_comparison(run: RunResult, groups: Iterable[Group], changed: Sequence[str] = ()) -> Comparison:
    """The run beside the baseline that it is judged against.

    That is its own architecture's where there is one at its L0, else TopK's at its L0. Where none matches, it is the
    first of these, and the comparison says why there is no verdict.

    Args:
        run: The run.
        groups: All baselines there are, the profile's own first; at least one.
        changed: What changed since they were made.

    Returns:
        The comparison.
    """
    known = list(groups)
    ours = [group for group in known if group.architecture == run.architecture]
    reference = [group for group in known if group.architecture == REFERENCE and run.architecture != REFERENCE]
    first, *rest = [compare(run, group, changed=changed) for group in [*ours, *reference] or known[:1]]
    rest.sort(key=lambda found: (found.baseline.architecture != first.baseline.architecture, _l0_distance(found)))
    return next((found for found in (first, *rest) if found.comparable), first)


def _row(name: str, run: Group, baseline: Group, noise: Group | None, comparable: bool) -> Row:
    value, other = run.lookup(name), baseline.lookup(name)
    assert value is not None
    if other is None or math.isnan(other.value):
        return Row(name, value, None, None, None, 0, "no baseline")
    if math.isnan(value.value):
        return Row(name, value, other, None, None, 0, "not scored")
    spread = noise.samples(name) if noise and len(run.runs) == len(baseline.runs) == 1 else ()
    found = difference(run.samples(name), baseline.samples(name), spread)
    verdict: Verdict
    if not comparable:
        verdict = "not comparable"
    elif not found.outside or math.isclose(value.value, other.value, rel_tol=ROUNDING):
        verdict = "within noise"
    elif value.better is None:
        verdict = "changed"
    else:
        verdict = "improved" if (found.delta > 0) == (value.better == "higher") else "worse"
    return Row(name, value, other, found.delta, found.margin, found.pairs, verdict)


def _l0_distance(comparison: Comparison) -> float:
    ours, theirs = comparison.run.lookup(L0), comparison.baseline.lookup(L0)
    return abs(ours.value - theirs.value) if ours and theirs else math.inf
