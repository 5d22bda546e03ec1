"""Predictions: said of a run before it was started, and held against its comparison."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from agent.results.compare import JUDGED, OUTSIDE, Comparison

# A range whose ends lie further apart than this factor says no more than the direction.
WIDEST = 1000.0


@dataclass(frozen=True)
class Prediction:
    """One expected change of a run, said before it ran.

    Args:
        metric: For example `core.explained_variance`.
        direction: `up`, `down` or `same`, against the baseline's mean.
        low: The least size of the change, in the metric's unit; None when none was said.
        high: The greatest size of the change; None when none was said.
    """

    metric: str
    direction: str
    low: float | None = None
    high: float | None = None


def unfit(predictions: Sequence[Prediction], goal: str, scored: Collection[str], unmoved: Collection[str]) -> list[str]:
    """The faults of predictions that cannot fail, or that leave out what the idea is about.

    Args:
        predictions: The lines of one prediction.
        goal: The metric that the idea is about.
        scored: The metrics that runs are scored by.
        unmoved: Those of them that are the same whatever the SAE.

    Returns:
        A line for each fault, for the model.
    """
    said, evaluations = [line.metric for line in predictions], {name.partition(".")[0] for name in scored}
    found = [] if goal in said else [f"no line is about {goal}, the goal: say first what happens to it"]
    found += [f"{name} is predicted more than once" for name in dict.fromkeys(said) if said.count(name) > 1]
    for line in predictions:
        # One of an evaluation that this campaign leaves out is no fault, and never a hit.
        if line.metric not in scored and line.metric.partition(".")[0] in evaluations:
            found.append(f"{line.metric} is no metric that runs are scored by")
        elif line.metric in unmoved:
            found.append(f"{line.metric} is the same whatever the SAE is: predict what a change can move")
        elif line.direction == "same" and line.low is not None:
            found.append(f"{line.metric} same: give no size")
        elif line.high is not None and not 0 < (line.low or 0) <= line.high <= WIDEST * (line.low or 0):
            found.append(
                f"{line.metric} {line.direction}: a range from above 0 to at most {WIDEST:g} times as much, or none"
            )
    return found


def fit(predictions: Sequence[Prediction], scored: Collection[str], unmoved: Collection[str]) -> list[Prediction]:
    """Those lines of a prediction that can fail."""
    said = [line.metric for line in predictions]
    return [
        line for line in predictions if said.count(line.metric) == 1 and not unfit([line], line.metric, scored, unmoved)
    ]


def outcome(prediction: Prediction, comparison: Comparison) -> str:
    """Say whether a prediction came true: `hit`, `miss` or `undecided`.

    Args:
        prediction: Said before the run, against the baseline's mean.
        comparison: Of the run with that baseline.

    Returns:
        `undecided` where the metric was not scored, the run is not comparable, or its interval holds both 0 and effects
        that matter. "The same" is a hit only where it holds none that matters.
    """
    row = comparison.row(prediction.metric)
    if row is None or row.delta is None or row.verdict not in JUDGED:
        return "undecided"
    inside = row.verdict not in OUTSIDE
    if prediction.direction == "same":
        return "miss" if not inside else "hit" if row.verdict == "no effect" else "undecided"
    signed = row.delta if prediction.direction == "up" else -row.delta
    if inside:
        # A size was named that the interval leaves out: the run did see that it is not there.
        excluded = prediction.low is not None and row.margin is not None and prediction.low > signed + row.margin
        return "miss" if excluded else "undecided"
    low, high = prediction.low or 0.0, math.inf if prediction.high is None else prediction.high
    return "hit" if signed > 0 and low <= signed <= high else "miss"
