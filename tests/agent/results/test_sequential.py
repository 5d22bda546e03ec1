"""More seeds for promising runs: the error of all looks together, the power they buy, and what is said of each."""

import math
from dataclasses import replace

import numpy as np
import pytest

from agent.results.compare import Comparison, Row, Terms, compare
from agent.results.noise import student_t
from agent.results.read import Group, RunResult, Value
from agent.results.sequential import FUTILE, level, looks, wanted
from agent.results.tally import count_outside

GOAL = "core.explained_variance"


def group(name, values):
    return Group(
        name,
        tuple(
            RunResult(f"{name}_seed{place}", {GOAL: Value(value, "higher", headline=True)}, {"seed": place}, "w", {})
            for place, value in enumerate(values)
        ),
    )


def comparison(gain, error, seeds, verdict="undecided"):
    run = group("run_1", [0.0] * seeds)
    row = Row(GOAL, Value(0.0, "higher"), Value(0.0), gain, 2 * error, 0, verdict, error=error)
    return Comparison(run, group("topk", [0.0]), (), (row,))


def campaign_of(effect, rng, runs, baseline=8, most=6):
    """Seeds and verdict of each run, as the loop gives them; the spread of a seed is 1."""
    theirs = rng.normal(size=(runs, baseline))
    ours = rng.normal(effect, size=(runs, 6))
    seeds, improved = np.full(runs, 1), np.zeros(runs, bool)
    open_ = np.ones(runs, bool)
    for now in looks(most):
        freedom = baseline - 1 + now - 1
        squares = theirs.var(1, ddof=1) * (baseline - 1) + (ours[:, :now].var(1, ddof=1) * (now - 1) if now > 1 else 0)
        error = np.sqrt(squares / freedom * (1 / now + 1 / baseline))
        ratio = (ours[:, :now].mean(1) - theirs.mean(1)) / error
        seeds[open_] = now
        claimed = open_ & (ratio > student_t((1 + level(now, baseline, most)) / 2, freedom)) & (now > 1)
        improved |= claimed
        open_ &= ~claimed & (ratio >= FUTILE.get(now, math.inf))
    return seeds, improved


def test_of_runs_without_an_effect_one_in_forty_is_called_improved_over_all_looks():
    _, improved = campaign_of(0.0, np.random.default_rng(0), 100_000)
    assert 0.012 < improved.mean() <= 0.0255


def test_a_run_without_an_effect_costs_little_and_a_large_one_is_seen():
    rng = np.random.default_rng(1)
    seeds, _ = campaign_of(0.0, rng, 20_000)
    assert seeds.mean() < 1.7
    for effect, least in ((2.0, 0.72), (3.0, 0.94)):
        _, improved = campaign_of(effect, rng, 20_000)
        assert improved.mean() > least, effect
    once = np.random.default_rng(2)
    theirs, ours = once.normal(size=(20_000, 3)), once.normal(2.0, size=20_000)
    error = theirs.std(1, ddof=1) * math.sqrt(1 + 1 / 3)
    assert ((ours - theirs.mean(1)) / error > student_t(0.975, 2)).mean() < 0.25, "what one run against three saw"


def test_the_looks_share_one_error():
    assert [level(seeds, 8, 1) for seeds in (1, 3)] == [0.95, 0.95]
    assert level(3, 8, 3) == 0.95
    first, last = level(3, 8, 6), level(6, 8, 6)
    assert 0.95 < last < first < 0.995
    assert level(1, 8, 6) == 0.95
    assert looks(1) == (1,)
    assert looks(3) == (1, 3)


@pytest.mark.parametrize(
    ("gain", "seeds", "most", "verdict", "gets", "why"),
    [
        (0.7, 1, 6, "undecided", 1, "0.7 standard errors, below 1"),
        (-2.0, 1, 6, "worse", 1, "-2.0 standard errors, below 1"),
        (1.1, 1, 6, "undecided", 3, "1.1 standard errors, 1 or more"),
        (9.0, 1, 6, "improved", 3, "9.0 standard errors, 1 or more"),
        (9.0, 1, 6, "no effect", 1, "no effect on core.explained_variance that would matter"),
        (9.0, 1, 1, "improved", 1, "all the seeds that a run gets"),
        (1.2, 3, 6, "undecided", 3, "1.2 standard errors, below 1.3"),
        (1.5, 3, 6, "undecided", 6, "1.5 standard errors, 1.3 or more"),
        (4.0, 3, 6, "improved", 3, "core.explained_variance improved"),
        (1.5, 3, 3, "undecided", 3, "all the seeds that a run gets"),
        (1.5, 6, 6, "undecided", 6, "all the seeds that a run gets"),
        (9.0, 1, 6, "not measurable", 1, "core.explained_variance is not measurable"),
    ],
)
def test_what_a_run_gets_and_why(gain, seeds, most, verdict, gets, why):
    found, reason = wanted(comparison(gain, 1.0, seeds, verdict), GOAL, most)
    assert found == gets
    assert why in reason


def test_a_goal_that_was_not_scored_gets_no_seeds():
    assert wanted(comparison(9.0, 1.0, 1), "core.delta_ce", 6) == (1, "core.delta_ce is not scored")


def test_the_interval_of_the_goal_is_that_of_its_look_and_others_are_at_95_percent():
    ours, theirs = group("run_1", [0.9, 0.91, 0.92]), group("topk", [0.8 + 0.01 * place for place in range(8)])
    plain = compare(ours, theirs).row(GOAL)
    looked = compare(ours, theirs, terms=Terms(goal=GOAL, most_seeds=6)).row(GOAL)
    assert (plain.level, plain.delta, plain.error) == (0.95, looked.delta, looked.error)
    assert looked.level == level(3, 8, 6)
    assert looked.margin == pytest.approx(looked.error * student_t((1 + looked.level) / 2, 9))
    assert looked.margin > plain.margin
    assert looked.detectable > plain.detectable
    other = compare(ours, theirs, terms=Terms(goal="core.delta_ce", most_seeds=6)).row(GOAL)
    assert other.margin == plain.margin


def of_run(number, p, verdict="improved", at=0.95):
    row = Row(GOAL, Value(0.9, "higher", headline=True), Value(0.8), 0.1, 0.05, 0, verdict, p=p, level=at)
    return Comparison(group(f"run_{number}", [0.9]), group("topk", [0.8]), (), (row,))


def test_the_goal_of_the_best_of_many_runs_is_judged_as_the_best_of_many():
    alone = count_outside([of_run(1, 0.03)], GOAL)
    assert alone.goal == ("run_1",)
    many = [of_run(1, 0.03), *(of_run(number, 0.5, "undecided") for number in range(2, 11))]
    assert count_outside(many, GOAL).goal == ()
    many = [of_run(1, 0.003), of_run(2, 0.0001), *(of_run(number, 0.5, "undecided") for number in range(3, 11))]
    assert count_outside(many, GOAL).goal == ("run_2", "run_1")
    worse = [of_run(1, 0.0001, "worse"), of_run(2, 0.02)]
    assert count_outside(worse, GOAL).goal == ("run_2",)
    # At the first of two looks a p has to be as much smaller as less of the error is spent there.
    early = [replace(one) for one in (of_run(1, 0.03, at=0.99),)]
    assert count_outside(early, GOAL).goal == ()
