"""The description of a metric; it is read without the libraries that compute one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower"] | None


@dataclass(frozen=True)
class Metric:
    """A metric, and how to read its numbers.

    Args:
        better: which way is better; None: neither.
        unit: "" for none.
        paper: where it is defined.
        headline: marks the few that a table shows when there is no room for all.
        names: what texts call it beside its own name, so that what is said of it can be checked; several metrics may
            share one. Small letters, hyphens, a plural, "mean" before it and "score" behind it make no difference; "…"
            stands for a few words: "explain … of the variance".
        of_sae: whether it depends on the SAE at all, and not on the model and the data alone.
        matters: the smallest effect that would matter, as a share of the value.
        needs: another metric of the evaluation, and the value below which this one is not measurable.
    """

    better: Better = None
    unit: str = ""
    paper: str = ""
    headline: bool = False
    names: tuple[str, ...] = ()
    of_sae: bool = True
    matters: float = 0.01
    needs: tuple[str, float] | None = None
