"""The noise floor against scipy, and its rate of false alarms."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from agent.results.noise import difference, student_t

numbers = st.floats(-1e3, 1e3, allow_nan=False).map(lambda number: round(number, 6))


def seeded(values, first=0):
    return [(first + place, value) for place, value in enumerate(values)]


@pytest.mark.parametrize("freedom", [1, 2, 5, 40])
def test_quantiles_are_those_of_scipy(freedom):
    assert student_t(0.975, freedom) == pytest.approx(stats.t.ppf(0.975, freedom))


def test_one_new_run_against_seeds_is_the_prediction_interval():
    found = difference([(0, 0.9)], seeded([0.80, 0.81, 0.82]))
    assert found.delta == pytest.approx(0.09)
    assert found.margin == pytest.approx(stats.t.ppf(0.975, 2) * 0.01 * math.sqrt(1 + 1 / 3))
    assert found.pairs == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(numbers, min_size=3, max_size=6), st.lists(numbers, min_size=3, max_size=6))
def test_without_common_seeds_it_is_the_two_sample_test(ours, theirs):
    if np.std(ours) + np.std(theirs) < 1e-3:
        return
    found = difference(seeded(ours), seeded(theirs, 100))
    low, high = stats.ttest_ind(ours, theirs).confidence_interval(0.95)
    assert found.margin == pytest.approx((high - low) / 2, rel=1e-6)
    assert found.delta == pytest.approx((high + low) / 2, rel=1e-6, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(numbers, numbers), min_size=3, max_size=6))
def test_with_common_seeds_it_is_the_paired_test(pairs):
    ours, theirs = zip(*pairs)
    if np.std(np.subtract(ours, theirs)) < 1e-3:
        return
    found = difference(seeded(ours), seeded(theirs))
    low, high = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert found.pairs == len(pairs)
    assert found.margin == pytest.approx((high - low) / 2, rel=1e-6)


def test_two_single_runs_take_their_noise_from_a_third_kind():
    found = difference([(0, 0.9)], [(0, 0.8)], seeded([0.80, 0.81, 0.82]))
    assert found.margin == pytest.approx(stats.t.ppf(0.975, 2) * 0.01 * math.sqrt(2))


def test_without_any_spread_there_is_no_floor_and_nothing_is_outside():
    found = difference([(0, 0.9)], [(0, 0.1)])
    assert found.margin is None
    assert not found.outside


@settings(max_examples=30, deadline=None)
@given(st.lists(numbers, min_size=1, max_size=5), st.lists(numbers, min_size=2, max_size=5), st.randoms())
def test_it_is_the_same_from_either_side_and_in_any_order(ours, theirs, shuffler: random.Random):
    mine, other = seeded(ours), seeded(theirs)
    found, turned = difference(mine, other), difference(other, mine)
    assert turned.delta == pytest.approx(-found.delta)
    assert turned.margin == pytest.approx(found.margin)
    shuffler.shuffle(mine)
    shuffler.shuffle(other)
    again = difference(mine, other)
    assert again.delta == pytest.approx(found.delta)
    assert again.margin == pytest.approx(found.margin, abs=1e-9)


def one_new_run(generator):
    return [(0, generator.normal())], seeded(generator.normal(size=3).tolist())


def three_pairs(generator):
    """Pairs share what a seed does to both; what is left is each run's own."""
    common = generator.normal(size=3)
    return tuple(seeded((common + generator.normal(size=3)).tolist()) for _ in range(2))


def two_of_each(generator):
    return tuple(seeded(generator.normal(size=2).tolist()) for _ in range(2))


@pytest.mark.parametrize("draw", [one_new_run, three_pairs, two_of_each])
def test_one_in_twenty_is_outside_when_only_seeds_differ(draw):
    generator = np.random.default_rng(0)
    count = 4000
    outside = sum(difference(*draw(generator)).outside for _ in range(count))
    assert abs(outside / count - 0.05) < 3 * math.sqrt(0.05 * 0.95 / count)


def test_the_best_of_five_runs_is_outside_too_often_and_fresh_seeds_put_it_right():
    generator = np.random.default_rng(1)
    count, chosen, held = 2000, 0, 0
    for _ in range(count):
        best = max(generator.normal(size=5).tolist())
        found = difference([(0, best)], seeded(generator.normal(size=3).tolist()))
        if found.outside and found.delta > 0:
            chosen += 1
            again = difference(*three_pairs(generator))
            held += again.outside and again.delta > 0
    assert chosen / count > 0.05
    assert held / chosen < 0.06
