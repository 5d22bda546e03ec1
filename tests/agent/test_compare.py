"""Verdicts: confounds first, then the noise floor, then what a prediction was worth."""

import math

import pytest
from scipy import stats

from agent.reply import Prediction
from agent.report.compare import compare, judge, margin, primary
from agent.report.results import Group, RunResult, Value, shown, shown_spread

TRAINING = {
    "architecture": "topk",
    "tokens": 1000,
    "steps": 10,
    "batch_size": 100,
    "data": "abc",
    "device": "cpu",
    "dtype": "float32",
    "profile": "p",
    "settings": {"d_sae": 64, "lr": 1e-3},
}
KEY = {"core": {"evaluator": "e", "settings": "s"}}


def result(name="run_1", ev=0.8, l0=32.0, training=None, key=None, **metrics):
    values = {"core.explained_variance": Value(ev, "higher"), "core.l0": Value(l0, None)}
    values |= {f"core.{metric}": value for metric, value in metrics.items()}
    return RunResult(name, values, {**TRAINING, **(training or {})}, "w", key or KEY)


BASE = Group("topk", tuple(result(f"topk_seed{n}", ev=ev) for n, ev in enumerate((0.80, 0.81, 0.82))))


def test_margin_is_the_prediction_interval_for_one_new_run():
    wide = margin(BASE.lookup("core.explained_variance"))
    assert wide == pytest.approx(stats.t.ppf(0.975, 2) * 0.01 * math.sqrt(1 + 1 / 3))


@pytest.mark.parametrize(("ev", "verdict"), [(0.84, "within noise"), (0.90, "improved"), (0.70, "worse")])
def test_only_outside_the_noise_floor(ev, verdict):
    assert compare(result(ev=ev), BASE).row("core.explained_variance").verdict == verdict


def test_lower_is_better_turns_it_round():
    base = Group("topk", tuple(result(bad=Value(v, "lower")) for v in (1.0, 1.01, 1.02)))
    assert compare(result(bad=Value(0.5, "lower")), base).row("core.bad").verdict == "improved"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"l0": 40.0}, "L0"),
        ({"training": {"tokens": 2000}}, "tokens"),
        ({"training": {"data": "other"}}, "data"),
        ({"training": {"settings": {"d_sae": 128, "lr": 1e-3}}}, "dictionary size"),
        ({"key": {"core": {"evaluator": "new", "settings": "s"}}}, "evaluator of core"),
    ],
)
def test_an_unmatched_run_gets_no_verdict_whatever_the_score(change, what):
    comparison = compare(result(ev=0.99, **change), BASE)
    assert not comparison.comparable
    assert comparison.row("core.explained_variance").verdict == "not comparable"
    assert what in [confound.what for confound in comparison.confounds]


def test_a_learning_rate_is_named_and_does_not_void():
    comparison = compare(result(training={"settings": {"d_sae": 64, "lr": 5e-3}}), BASE)
    assert comparison.comparable
    assert [str(confound) for confound in comparison.confounds] == ["learning rate 0.005000 (baseline 0.001000)"]


def test_one_seed_gives_no_floor_and_no_verdict():
    lone = Group("topk", (result(),))
    assert compare(result(ev=0.99), lone).row("core.explained_variance").verdict == "within noise"


def test_judged_against_its_own_architecture_else_the_nearest_l0():
    relu = Group("relu", (result(l0=60.0, training={"architecture": "relu"}),))
    groups = {"topk": BASE, "relu": relu}
    assert primary(result(l0=58.0), groups).name == "topk"
    assert primary(result(l0=58.0, training={"architecture": "mine"}), groups).name == "relu"


@pytest.mark.parametrize(
    ("direction", "low", "high", "ev", "outcome"),
    [
        ("up", None, None, 0.9, "hit"),
        ("up", 0.05, 0.2, 0.9, "hit"),
        ("up", 0.2, None, 0.9, "miss"),
        ("down", None, None, 0.9, "miss"),
        ("up", None, None, 0.82, "undecided"),
        ("up", 0.3, None, 0.82, "miss"),
        ("same", None, None, 0.82, "hit"),
        ("same", None, None, 0.9, "miss"),
    ],
)
def test_predictions(direction, low, high, ev, outcome):
    said = Prediction("core.explained_variance", direction, low, high)
    assert judge(said, compare(result(ev=ev), BASE)) == outcome


def test_a_prediction_about_what_was_not_scored_is_undecided():
    assert judge(Prediction("scr.score", "up"), compare(result(), BASE)) == "undecided"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.85714, "0.8571"),
        (32.0, "32"),
        (1234.5, "1,234"),
        (0.00002, "2.00e-05"),
        (float("nan"), "nan"),
        (12.5, "12.50"),
    ],
)
def test_numbers_as_people_write_them(number, text):
    assert shown(number) == text


def test_a_spread_is_never_rounded_away():
    assert shown_spread(0.000004, 0.8571) == "4e-06"
