"""More seeds for the runs that may have improved: at which numbers of seeds one looks, and what decides there.

A run starts with one seed. Where its gain in the goal is small beside the noise it stays at that; else it gets three,
and six where three leave it open. Whoever looks twice finds what is not there more often, so the two looks that may
call the goal improved share one error of 5%: a group sequential test (Jennison and Turnbull 2000, "Group sequential
methods with applications to clinical trials") whose error is spent as O'Brien and Fleming's (Lan and DeMets 1983,
"Discrete sequential boundaries for clinical trials"). To stop early without a gain costs no error.
"""

import math
from functools import cache
from typing import TYPE_CHECKING

from agent.results.noise import LEVEL

if TYPE_CHECKING:
    from agent.results.compare import Comparison

# The numbers of seeds that are looked at; what a run needs at each to get those of the next, in standard errors.
LOOKS = (1, 3, 6)
FUTILE = {1: 1.0, 3: 1.3}


def looks(most: int) -> tuple[int, ...]:
    """The numbers of seeds that are looked at, where a run gets `most` seeds at most."""
    return tuple(number for number in LOOKS if number <= most)


def wanted(comparison: "Comparison", goal: str, most: int) -> tuple[int, str]:
    """The number of seeds that a run is to have, and why.

    Args:
        comparison: The run, with the seeds that it has, beside its baseline.
        goal: The metric that decides.
        most: The most seeds that a run gets, one of `LOOKS`.

    Returns:
        The number, not below that of now, and the reason in words.
    """
    now, row = len(comparison.run.runs), comparison.row(goal)
    more = next((number for number in looks(most) if number > now), None)
    if more is None:
        return now, "it has all the seeds that a run gets"
    if not comparison.comparable:
        return now, "it is not comparable"
    if row is None or row.gain is None or not row.judged:
        return now, f"{goal} is {row.verdict if row else 'not scored'}"
    if row.verdict == "no effect":
        return now, f"there is no effect on {goal} that would matter"
    if not row.error:
        return now, f"the spread of {goal} is not known"
    if now > LOOKS[0] and row.verdict == "improved":
        return now, f"{goal} improved"
    ratio, least = row.gain / row.error, FUTILE[now]
    said = f"its gain in {goal} is {ratio:.1f} standard errors"
    return (more, f"{said}, {least:g} or more") if ratio >= least else (now, f"{said}, below {least:g}")


def level(seeds: int, baseline: int, most: int) -> float:
    """The level of the goal's interval at a look, so that of all runs without an effect 2.5% are called improved.

    Args:
        seeds: Those that the run has.
        baseline: The seeds of what it is compared with.
        most: The most seeds that a run gets.

    Returns:
        95% where only one look may call it improved; else more, for example 99.0% at three seeds and 95.2% at six.
    """
    # With one seed a gain that is large enough for a claim is large enough for more seeds, so nothing is claimed.
    claims = [number for number in looks(most) if number > LOOKS[0]]
    if seeds not in claims or len(claims) == 1:
        return LEVEL
    information = [1 / (1 / number + 1 / max(1, baseline)) for number in claims]
    return 1 - _spent(information[0] / information[1])[claims.index(seeds)]


@cache
def _spent(share: float) -> tuple[float, float]:
    """The two-sided error of the intervals at two looks.

    Args:
        share: The first look's part of the second's information.
    """
    from scipy.integrate import quad
    from scipy.optimize import brentq
    from scipy.special import ndtr, ndtri

    error = (1 - LEVEL) / 2
    first = 2 * float(ndtr(-ndtri(1 - error / 2) / math.sqrt(share)))
    edge, slope = -float(ndtri(first)), math.sqrt(share)

    def crossed(bound: float) -> float:
        """The chance to cross the second bound and not the first."""
        inside = quad(lambda x: _density(x) * ndtr((slope * x - bound) / math.sqrt(1 - share)), -10, edge)
        return float(inside[0])

    second = brentq(lambda bound: crossed(bound) - (error - first), 1.0, 5.0)
    return 2 * first, 2 * float(ndtr(-second))


def _density(x: float) -> float:
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
