"""The steps of a run that are done: all, the first ones in a short trial, a few in a smoke run (`lab.smoke`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.errors import LabError

STEPS = "SAE_LAB_SMOKE_STEPS"
PASSES = "SAE_LAB_PASSES"
MOST_PASSES = 8.0


@dataclass(frozen=True)
class Schedule:
    """The steps of a run.

    Args:
        steps: how many the run is told it has.
        numbers: those that are handed out, rising.
        period: after so many steps the same batches come again; 0 for never.
        passes: how often they are gone through.
    """

    steps: int
    numbers: Sequence[int]
    period: int = 0
    passes: float = 1.0


def schedule(steps: int, most: int = 0, smoke: str = "", passes: str = "") -> Schedule:
    """The steps that are done, of a profile's number.

    Args:
        steps: the profile's number.
        most: the run ends after so many; 0 for all.
        smoke: what SAE_LAB_SMOKE_STEPS says: a number, for a whole run with its schedule compressed into so few steps,
            or the numbers of single steps of the real run, with commas between.
        passes: how often the whole run's batches are gone through, such as 1.5; empty for once.

    Raises:
        LabError: what is given is no number, or is not below the number of steps.
    """
    if passes and not smoke and not most:
        try:
            times = float(passes)
        except ValueError:
            times = 0.0
        if not 1.0 <= times <= MOST_PASSES:
            raise LabError(f"{PASSES} must be a number from 1 to {MOST_PASSES:g}, not {passes!r}")
        return Schedule(round(times * steps), range(round(times * steps)), steps, times)
    numbers = [part for part in smoke.split(",") if part]
    if not all(part.isdecimal() for part in numbers):
        raise LabError(f"{STEPS} must be a number of steps, or numbers with commas between, not {smoke!r}")
    if "," not in smoke:
        fewest = min(count for count in (steps, most, int(smoke or 0)) if count)
        return Schedule(fewest, range(fewest))
    chosen = sorted(set(map(int, numbers)))
    if not chosen or chosen[-1] >= steps:
        raise LabError(f"{STEPS} must name steps below {steps}, not {smoke!r}")
    return Schedule(steps, chosen)
