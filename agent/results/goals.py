"""The goal that a run is to improve, and the guards that it must not make worse."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from agent.results.compare import Comparison, Row

State = Literal["kept", "broken", "undecided", "not scored"]


@dataclass(frozen=True)
class Guard:
    """A metric that must not get worse, and how it came out for a run.

    Args:
        metric: Its name.
        margin: By how much it may get worse, in its unit.
        row: The run beside its baseline; None where it was not scored.
    """

    metric: str
    margin: float
    row: Row | None

    @property
    def state(self) -> State:
        """`kept` where the interval of the effect leaves out a loss as large as the margin (non-inferiority).

        `broken` where the loss is larger than the margin and no chance of seeds; else `undecided`.
        """
        if self.row is None or self.row.gain is None or self.row.verdict in ("not measurable", "not comparable"):
            return "not scored"
        if self.row.margin is None:
            return "undecided"
        if self.row.gain - self.row.margin > -self.margin:
            return "kept"
        return "broken" if self.row.verdict == "worse" and self.row.gain < -self.margin else "undecided"


def guards_of(comparison: Comparison, margins: Mapping[str, float | None]) -> tuple[Guard, ...]:
    """The guards of a campaign, as a run came out.

    Args:
        comparison: The run beside its baseline.
        margins: By how much each may get worse; None for as much as would matter of the metric.
    """
    rows = {metric: comparison.row(metric) for metric in margins}
    usual = {metric: row.smallest if row else 0.0 for metric, row in rows.items()}
    return tuple(
        Guard(metric, usual[metric] if margin is None else margin, rows[metric]) for metric, margin in margins.items()
    )


def improved(comparison: Comparison, goal: str, margins: Mapping[str, float | None]) -> bool:
    """Tell whether a run improved in the goal and broke no guard."""
    row = comparison.row(goal)
    kept = all(guard.state != "broken" for guard in guards_of(comparison, margins))
    return row is not None and row.verdict == "improved" and kept
