"""Goals and guards: a run is called improved where it improved in the goal and no guard is broken."""

import pytest

from agent.results.compare import compare
from agent.results.goals import guards_of, improved
from agent.results.read import Group, Value
from tests.agent.results.test_compare import EV, result

SEEDS = (0.99, 1.0, 1.01)
# Half the interval of one new run beside these.
HALF = 0.0497


def comparison(loss, better="higher", ev=0.9):
    """A run that lost so much of a metric beside three seeds of the baseline."""
    sign = 1 if better == "higher" else -1
    base = tuple(result(f"b{n}", ev=0.8 + n / 100, kept=Value(value, better)) for n, value in enumerate(SEEDS))
    return compare(result(ev=ev, kept=Value(1 - sign * loss, better)), Group("topk", base))


@pytest.mark.parametrize("better", ["higher", "lower"])
@pytest.mark.parametrize(
    ("loss", "state"),
    [
        (-0.2, "kept"),  # it gained
        (0.1 - HALF - 0.001, "kept"),
        (0.1 - HALF + 0.001, "undecided"),
        (0.099, "undecided"),
        (0.101, "broken"),
        (0.5, "broken"),
    ],
)
def test_a_guard_is_kept_broken_or_undecided(loss, state, better):
    (guard,) = guards_of(comparison(loss, better), {"core.kept": 0.1})
    assert guard.state == state


def test_without_a_margin_a_guard_may_lose_what_would_not_matter():
    (guard,) = guards_of(comparison(0.0), {"core.kept": None})
    assert guard.margin == pytest.approx(0.01)


def test_a_guard_that_was_not_scored_says_so():
    (guard,) = guards_of(comparison(0.0), {"core.other": 0.1})
    assert guard.state == "not scored"


@pytest.mark.parametrize(
    ("loss", "ev", "margins", "came"),
    [
        (0.0, 0.9, {"core.kept": 0.1}, True),
        (0.0, 0.81, {"core.kept": 0.1}, False),
        (0.5, 0.9, {"core.kept": 0.1}, False),
        (0.5, 0.9, {}, True),
        (0.09, 0.9, {"core.kept": 0.1}, True),
    ],
)
def test_what_is_called_improved(loss, ev, margins, came):
    assert improved(comparison(loss, ev=ev), EV, margins) is came
