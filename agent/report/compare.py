"""What a run's scores mean beside the baselines: confounds first, then verdicts outside a noise floor."""

import math
from dataclasses import dataclass
from typing import Literal

from agent.reply import Prediction
from agent.report.results import Group, RunResult, Value, shown

Verdict = Literal["improved", "worse", "within noise", "changed", "not comparable", "no baseline"]

# Beyond these relative differences two runs answer different questions.
L0_TOLERANCE = 0.05
TOKENS_TOLERANCE = 0.01

# The settings of training that a comparison holds equal, and the field of the training record for each.
CONFOUNDS = {
    "tokens": "tokens",
    "steps": "steps",
    "batch size": "batch_size",
    "data": "data",
    "device": "device",
    "dtype": "dtype",
    "profile": "profile",
}
SETTINGS = {"dictionary size": "d_sae", "learning rate": "lr"}


@dataclass(frozen=True)
class Confound:
    """A difference between a run and its baseline that is not the idea.

    Args:
        what: For example `L0`.
        run: The run's figure.
        baseline: The baseline's.
        blocks: Whether no verdict can be given because of it.
    """

    what: str
    run: str
    baseline: str
    blocks: bool

    def __str__(self) -> str:
        return f"{self.what} {self.run} (baseline {self.baseline})"


@dataclass(frozen=True)
class Row:
    """One metric of a run beside the baseline's."""

    metric: str
    value: Value
    baseline: Value | None
    margin: float | None
    verdict: Verdict

    @property
    def delta(self) -> float | None:
        """Run minus the baseline's mean."""
        return None if self.baseline is None else self.value.value - self.baseline.value


@dataclass(frozen=True)
class Comparison:
    """A run against one group of baselines."""

    run: RunResult
    baseline: Group
    confounds: tuple[Confound, ...]
    rows: tuple[Row, ...]

    @property
    def comparable(self) -> bool:
        """Whether verdicts are given at all."""
        return not any(confound.blocks for confound in self.confounds)

    def row(self, metric: str) -> Row | None:
        """The row of a metric."""
        return next((row for row in self.rows if row.metric == metric), None)


def margin(baseline: Value, level: float = 0.95) -> float | None:
    """Half the width of the interval in which one new run of the baseline would fall.

    Student's t prediction interval for one new observation: t(n - 1) * sd * sqrt(1 + 1/n).

    Args:
        baseline: A mean over seeds.
        level: The share of new runs that fall inside.

    Returns:
        The half width in the metric's unit, or None with fewer than two seeds.
    """
    if baseline.sd is None or baseline.n < 2:
        return None
    return student_t((1 + level) / 2, baseline.n - 1) * baseline.sd * math.sqrt(1 + 1 / baseline.n)


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


def compare(run: RunResult, baseline: Group) -> Comparison:
    """Set a run beside a group of baselines.

    Args:
        run: The run.
        baseline: Runs of one baseline that differ in their seed.

    Returns:
        The confounds and one row for each metric of the run.
    """
    confounds = tuple(_confounds(run, baseline))
    comparable = not any(confound.blocks for confound in confounds)
    rows = tuple(_row(name, value, baseline.lookup(name), comparable) for name, value in run.metrics.items())
    return Comparison(run, baseline, confounds, rows)


def primary(run: RunResult, baselines: dict[str, Group]) -> Group:
    """The baseline that a run is judged against: its own architecture's, or the one whose L0 is nearest.

    Args:
        run: The run.
        baselines: By architecture, at least one.

    Returns:
        The group.
    """
    if run.architecture in baselines:
        return baselines[run.architecture]
    own = run.lookup("core.l0")

    def distance(group: Group) -> float:
        theirs = group.lookup("core.l0")
        return abs(math.log(own.value / theirs.value)) if own and theirs and own.value > 0 < theirs.value else math.inf

    return min(baselines.values(), key=distance)


def judge(prediction: Prediction, comparison: Comparison) -> str:
    """Whether a prediction came true: `hit`, `miss` or `undecided`.

    Args:
        prediction: Said before the run, against the baseline's mean.
        comparison: Of the run with that baseline.

    Returns:
        `undecided` where the metric was not scored, the run is not comparable, or a predicted change is within noise.
    """
    row = comparison.row(prediction.metric)
    if row is None or row.delta is None or row.verdict in ("not comparable", "no baseline"):
        return "undecided"
    inside = row.verdict == "within noise"
    if prediction.direction == "same":
        return "hit" if inside else "miss"
    signed = row.delta if prediction.direction == "up" else -row.delta
    if inside:
        # A size was named that the noise floor excludes: the run did see that it is not there.
        excluded = prediction.low is not None and row.margin is not None and prediction.low > signed + row.margin
        return "miss" if excluded else "undecided"
    low, high = prediction.low or 0.0, math.inf if prediction.high is None else prediction.high
    return "hit" if signed > 0 and low <= signed <= high else "miss"


def _row(name: str, value: Value, baseline: Value | None, comparable: bool) -> Row:
    if baseline is None or math.isnan(baseline.value):
        return Row(name, value, None, None, "no baseline")
    width = margin(baseline)
    if not comparable:
        return Row(name, value, baseline, width, "not comparable")
    delta = value.value - baseline.value
    verdict: Verdict
    if width is None or math.isnan(delta) or abs(delta) <= width:
        verdict = "within noise"
    elif value.better is None:
        verdict = "changed"
    else:
        verdict = "improved" if (delta > 0) == (value.better == "higher") else "worse"
    return Row(name, value, baseline, width, verdict)


def _confounds(run: RunResult, baseline: Group) -> list[Confound]:
    found = []
    own, theirs = run.lookup("core.l0"), baseline.lookup("core.l0")
    if own and theirs and _differs(own.value, theirs.value, L0_TOLERANCE):
        found.append(Confound("L0", shown(own.value), shown(theirs.value), True))
    other = baseline.runs[0]
    for what, key in CONFOUNDS.items():
        ours, base = run.training.get(key), other.training.get(key)
        if ours != base:
            blocks = what in ("data", "profile") or (
                what in ("tokens", "steps") and _differs(float(ours or 0), float(base or 0), TOKENS_TOLERANCE)
            )
            found.append(Confound(what, _brief(ours), _brief(base), blocks))
    for what, key in SETTINGS.items():
        ours, base = (record.training.get("settings", {}).get(key) for record in (run, other))
        if ours != base:
            found.append(Confound(what, _brief(ours), _brief(base), what == "dictionary size"))
    for name, key in run.evaluator.items():
        if name in other.evaluator and key != other.evaluator[name]:
            found.append(Confound(f"evaluator of {name}", "changed", "as it was", True))
    return found


def _differs(ours: float, theirs: float, tolerance: float) -> bool:
    return abs(ours - theirs) > tolerance * abs(theirs)


def _brief(value: object) -> str:
    return shown(float(value)) if isinstance(value, int | float) else str(value)[:24]
