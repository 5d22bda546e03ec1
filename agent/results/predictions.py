"""Predictions: said of a run before it was started, and held against its comparison."""

import math
from dataclasses import dataclass

from agent.results.compare import JUDGED, Comparison


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


def outcome(prediction: Prediction, comparison: Comparison) -> str:
    """Say whether a prediction came true: `hit`, `miss` or `undecided`.

    Args:
        prediction: Said before the run, against the baseline's mean.
        comparison: Of the run with that baseline.

    Returns:
        `undecided` where the metric was not scored, the run is not comparable, or a predicted change is within noise.
    """
    row = comparison.row(prediction.metric)
    if row is None or row.delta is None or row.verdict not in JUDGED:
        return "undecided"
    inside = row.verdict == "within noise"
    if prediction.direction == "same":
        # Without a noise floor nothing tells "the same" from "not seen".
        return "miss" if not inside else "undecided" if row.margin is None else "hit"
    signed = row.delta if prediction.direction == "up" else -row.delta
    if inside:
        # A size was named that the noise floor excludes: the run did see that it is not there.
        excluded = prediction.low is not None and row.margin is not None and prediction.low > signed + row.margin
        return "miss" if excluded else "undecided"
    low, high = prediction.low or 0.0, math.inf if prediction.high is None else prediction.high
    return "hit" if signed > 0 and low <= signed <= high else "miss"
