"""Comparisons of a run's scores with others': confounds first, then effects with their intervals and verdicts."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from agent.results.confounds import BROAD_L0_TOLERANCE, L0, L0_TOLERANCE, NAMED, Confound, find_confounds
from agent.results.matching import REFERENCE, Reference, Settings, find_reference
from agent.results.noise import FEWEST_PAIRS, LEVEL, Spread, difference, moderating, seeds_needed
from agent.results.read import Group, RunResult, Value
from agent.results.sequential import level

Verdict = Literal[
    "improved",
    "worse",
    "changed",
    "no effect",
    "undecided",
    "within noise",
    "not comparable",
    "not measurable",
    "not scored",
    "no baseline",
]
# What stands for a verdict where there is little room.
MARKS: dict[Verdict, str] = {
    "no effect": "=",
    "undecided": "~",
    "within noise": "~",
    "not comparable": "n/c",
    "not measurable": "n/m",
}
OUTSIDE = ("improved", "worse", "changed")
JUDGED = (*OUTSIDE, "no effect", "undecided", "within noise")
# Relative; float32 sums in another order may differ by as much, also where seeds differ by nothing, as L0 does in TopK.
ROUNDING = 1e-5
RULES = 4  # raised when the same results may get another verdict


@dataclass(frozen=True)
class Row:
    """One metric of a run beside the baseline's.

    Args:
        metric: Its name.
        value: The run's, a mean where it has several seeds.
        baseline: The baseline's mean.
        delta: The effect: run minus baseline.
        margin: Half the width of its 95% interval.
        pairs: How many pairs of equal seeds were compared; 0 where spreads were pooled.
        verdict: `no effect` where the interval lies between -smallest and +smallest; else `improved`, `worse` or
            `changed` where it leaves out 0, and `undecided` where it does not; or why there is none. Version 0.1.0
            said `within noise` for the first and the last.
        against: The baseline it is beside, where that is a stronger one than its comparison's; else empty.
        smallest: The smallest effect that would matter.
        detectable: The smallest true effect that would have been seen with a chance of 80%.
        seeds: The seeds of each side with which `smallest` would be; None above 1,000.
        p: The chance of an effect as large when only seeds differ.
        error: The standard error of the effect.
        level: The level of its interval: 95%, but for a goal that is looked at more than once.
    """

    metric: str
    value: Value
    baseline: Value | None
    delta: float | None
    margin: float | None
    pairs: int
    verdict: Verdict
    against: str = ""
    smallest: float = 0.0
    detectable: float | None = None
    seeds: int | None = None
    p: float | None = None
    error: float | None = None
    level: float = LEVEL

    @property
    def judged(self) -> bool:
        """Tell whether there is a verdict, though it may be open."""
        return self.verdict in JUDGED

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval of the effect."""
        return (
            None if self.delta is None or self.margin is None else (self.delta - self.margin, self.delta + self.margin)
        )

    @property
    def gain(self) -> float | None:
        """The difference in the direction that is better; None without a direction."""
        if self.delta is None or self.value.better is None:
            return None
        return self.delta if self.value.better == "higher" else -self.delta


@dataclass(frozen=True)
class Comparison:
    """A run against one group of others: a baseline, or an earlier run.

    `missing` has the settings of the baselines that would have to be trained before there can be a verdict, `beside`
    all baselines that a metric has to improve beside.
    """

    run: Group
    baseline: Group
    confounds: tuple[Confound, ...]
    rows: tuple[Row, ...]
    missing: tuple[Settings, ...] = ()
    beside: tuple[Group, ...] = ()

    @property
    def comparable(self) -> bool:
        """Tell whether verdicts are given at all."""
        return not any(confound.blocks for confound in self.confounds)

    @property
    def headline_verdicts(self) -> dict[str, str]:
        """The verdict of each headline metric."""
        return {row.metric: row.verdict for row in self.rows if row.value.headline}

    def row(self, metric: str) -> Row | None:
        """The row of a metric."""
        return next((row for row in self.rows if row.metric == metric), None)


@dataclass(frozen=True)
class Terms:
    """The terms on which scores are compared.

    Args:
        smallest: The smallest effect that matters, by metric and in its unit; for others the metric's own share of the
            baseline's value.
        others: Groups of runs whose spreads tell how far the baseline's may be trusted.
        l0_tolerance: By how much the L0 may differ, relative.
        fewest_pairs: The number of equal seeds from which on they are compared in pairs.
        equivalence: Whether effects that do not matter are told from those that were not seen.
        goal: The metric that decides whether a run gets more seeds.
        most_seeds: The most seeds that a run gets.
    """

    smallest: Mapping[str, float] = field(default_factory=dict)
    others: tuple[Group, ...] = ()
    l0_tolerance: float = L0_TOLERANCE
    fewest_pairs: int = FEWEST_PAIRS
    equivalence: bool = True
    goal: str = ""
    most_seeds: int = 1

    def level(self, metric: str, run: Group, baseline: Group) -> float:
        """The level of a metric's interval."""
        return level(len(run.runs), len(baseline.runs), self.most_seeds) if metric == self.goal else LEVEL

    def prior(self, metric: str, *compared: Group) -> Spread | None:
        """The prior of a metric's variance, from the groups that are not compared themselves."""
        names = {name for group in compared for name in (group.name, *group.ends)}
        return moderating(
            [value for _, value in group.samples(metric)] for group in self.others if group.name not in names
        )


# Those by which runs were judged up to version 0.1.0.
TERMS_OF_BEFORE = Terms(l0_tolerance=BROAD_L0_TOLERANCE, fewest_pairs=3, equivalence=False)


def compare(
    run: RunResult | Group,
    baseline: Group,
    noise: Group | None = None,
    changed: Sequence[str] = (),
    terms: Terms = Terms(),
) -> Comparison:
    """Set a run beside a group of others.

    Args:
        run: The run, or runs of the same code with several seeds.
        baseline: Runs of one code that differ in their seed.
        noise: Other runs that tell how much seeds do as well.
        changed: What changed since the baseline was made and stands in no training record.
        terms: The terms of the comparison.

    Returns:
        The confounds and one row for each metric of the run.
    """
    ours = run if isinstance(run, Group) else Group(run.name, (run,))
    confounds = find_confounds(ours, baseline, changed, terms.l0_tolerance)
    return _compared(ours, baseline, confounds, terms, noise)


def best_comparison(
    run: RunResult | Group,
    groups: Iterable[Group],
    changed: Sequence[str] = (),
    goal: str = "",
    matched: bool = True,
    terms: Terms = Terms(),
) -> Comparison:
    """The run beside the strongest baseline that it can be compared with.

    These are TopK at its L0, as large and as tuned as it is (`agent.results.matching`), and the baselines of its own
    architecture. A metric improved where it does beside each of them.

    Args:
        run: The run.
        groups: All baselines there are, the profile's own first; at least one.
        changed: What changed since they were made.
        goal: The metric by which the strongest is chosen.
        matched: Whether there is no verdict until the TopKs that are missing are trained.
        terms: The terms of the comparison.

    Returns:
        The comparison. Where none is comparable it is with the first of TopK or its own architecture, and says why.
    """
    known, ours = list(groups), run if isinstance(run, Group) else Group(run.name, (run,))
    reference = find_reference(ours, known) or Reference((), ())
    own = [group for group in known if group.architecture == ours.architecture]
    topk = [group for group in known if group.architecture == REFERENCE]
    named = {group.name: group for group in (*reference.groups, *own, *topk)}
    candidates = [compare(ours, group, None, changed, terms) for group in named.values()]
    fair = [found for found in candidates if found.comparable]
    if matched and reference.missing:
        # Nothing else may stand in the way: a baseline is trained only where there is a verdict afterwards.
        first = min(candidates, key=lambda found: (_in_the_way(found), _l0_distance(found)))
        missing = () if _in_the_way(first) else reference.missing
        untrained = Confound("TopK as large, as sparse and as tuned", "this run", "not trained", True)
        return replace(_compared(ours, first.baseline, (*first.confounds, untrained), terms), missing=missing)
    if not fair:
        return candidates[0] if candidates else compare(ours, known[0], None, changed, terms)
    strongest = max(fair, key=lambda found: _strength(found, goal))
    rows = tuple(_beside_all(row, strongest, fair) for row in strongest.rows)
    return replace(strongest, rows=rows, beside=tuple(found.baseline for found in fair))


def void(comparison: Comparison, confound: Confound) -> Comparison:
    """A comparison without verdicts, for a reason that stands in no result."""
    rows = tuple(replace(row, verdict="not comparable") if row.judged else row for row in comparison.rows)
    return replace(comparison, confounds=(*comparison.confounds, confound), rows=rows)


def comparison_of_before(run: RunResult | Group, groups: Iterable[Group], changed: Sequence[str] = ()) -> Comparison:
    """The run beside its baseline as versions up to 0.1.0 chose it, for runs that they scored.

    That is its own architecture's where there is one at its L0 (within 5%), else TopK's at its L0. Where none matches,
    it is the first of these, and the comparison says why there is no verdict.

    Args:
        run: The run.
        groups: All baselines there are, the profile's own first; at least one.
        changed: What changed since they were made.
    """
    known = list(groups)
    ours = [group for group in known if group.architecture == run.architecture]
    reference = [group for group in known if group.architecture == REFERENCE and run.architecture != REFERENCE]
    wanted = [*ours, *reference] or known[:1]
    first, *rest = [compare(run, group, None, changed, TERMS_OF_BEFORE) for group in wanted]
    rest.sort(key=lambda found: (found.baseline.architecture != first.baseline.architecture, _l0_distance(found)))
    return next((found for found in (first, *rest) if found.comparable), first)


def _compared(
    run: Group, baseline: Group, confounds: tuple[Confound, ...], terms: Terms, noise: Group | None = None
) -> Comparison:
    comparable = not any(confound.blocks for confound in confounds)
    rows = tuple(_row(name, run, baseline, noise, comparable, terms) for name in run.metrics)
    return Comparison(run, baseline, confounds, rows)


def _in_the_way(comparison: Comparison) -> bool:
    """Tell whether there is a confound that no TopK with other settings would take away."""
    solved = {"L0", "dictionary size", "parameters", "encode FLOP a token", "training FLOP", "rows read"}
    # A larger TopK trains as many as a larger run, but for those that the run trains and does not save.
    trained, saved = comparison.run.lookup("training.parameters_trained"), comparison.run.lookup("sae.parameters")
    if trained and saved and trained.value <= NAMED * saved.value:
        solved.add("parameters trained")
    return any(confound.blocks and confound.what not in solved for confound in comparison.confounds)


def _strength(comparison: Comparison, goal: str) -> tuple[float, bool]:
    """The value of a baseline in the goal, larger is stronger; of equals the run's own architecture."""
    value = comparison.baseline.lookup(goal) if goal else None
    sign = 0 if value is None else -1 if value.better == "lower" else 1
    return sign * value.value if value else 0.0, comparison.baseline.architecture == comparison.run.architecture


def _beside_all(row: Row, strongest: Comparison, fair: Sequence[Comparison]) -> Row:
    """A row as it is, or, where it improved and does not beside another baseline, that beside the other."""
    if row.verdict != "improved":
        return row
    for other in fair:
        found = other.row(row.metric)
        if other is not strongest and found and found.verdict in JUDGED and found.verdict != "improved":
            return replace(found, against=other.baseline.name)
    return row


def _row(name: str, run: Group, baseline: Group, noise: Group | None, comparable: bool, terms: Terms) -> Row:
    value, other = run.lookup(name), baseline.lookup(name)
    assert value is not None
    if other is None or math.isnan(other.value):
        return Row(name, value, None, None, None, 0, "no baseline")
    if math.isnan(value.value):
        return Row(name, value, other, None, None, 0, "not scored")
    found = difference(
        run.samples(name),
        baseline.samples(name),
        noise.samples(name) if noise else (),
        terms.level(name, run, baseline),
        terms.prior(name, run, baseline),
        terms.fewest_pairs,
    )
    smallest = terms.smallest.get(name, value.matters * abs(other.value))
    same = math.isclose(value.value, other.value, rel_tol=ROUNDING)
    verdict: Verdict
    if not comparable:
        verdict = "not comparable"
    elif _unmeasurable(value, run, baseline):
        verdict = "not measurable"
    elif terms.equivalence and found.margin is not None and abs(found.delta) + found.margin <= smallest:
        verdict = "no effect"
    elif same or not found.outside:
        verdict = "undecided" if terms.equivalence else "within noise"
    elif value.better is None:
        verdict = "changed"
    else:
        verdict = "improved" if (found.delta > 0) == (value.better == "higher") else "worse"
    seeds = seeds_needed(smallest, found.spread) if found.spread is not None else None
    return Row(
        name,
        value,
        other,
        found.delta,
        found.margin,
        found.pairs,
        verdict,
        smallest=smallest,
        detectable=found.detectable,
        seeds=seeds,
        p=found.p,
        error=found.error,
        level=found.level,
    )


def _unmeasurable(value: Value, run: Group, baseline: Group) -> bool:
    """Tell whether one of two lies too low in another metric for this one to be measured."""
    if value.needs is None:
        return False
    floors = [group.lookup(value.needs[0]) for group in (run, baseline)]
    return any(floor is not None and floor.value < value.needs[1] for floor in floors)


def _l0_distance(comparison: Comparison) -> float:
    ours, theirs = comparison.run.lookup(L0), comparison.baseline.lookup(L0)
    return abs(ours.value - theirs.value) if ours and theirs else math.inf
