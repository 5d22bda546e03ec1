"""Verdicts: confounds first, then the noise floor, then what a prediction was worth."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.results.compare import TERMS_OF_BEFORE, Terms, best_comparison, compare, comparison_of_before
from agent.results.matching import group_name
from agent.results.predictions import Prediction, fit, outcome, unfit
from agent.results.read import Group, RunResult, Value, shown, shown_spread
from agent.results.tally import count_outside

TRAINING = {
    "architecture": "topk",
    "tokens": 1000,
    "rows": 1000,
    "steps": 10,
    "batch_size": 100,
    "data": "abc",
    "device": "cpu",
    "dtype": "float32",
    "profile": "p",
    "seed": 0,
    "versions": {"torch": "2"},
    "settings": {"d_sae": 64, "lr": 1e-3},
}
KEY = {"core": {"evaluator": "e", "settings": "s"}}


def result(name="run_1", ev=0.8, l0=32.0, training=None, key=None, **metrics):
    values = {"core.explained_variance": Value(ev, "higher"), "core.l0": Value(l0, None)}
    values |= {f"core.{metric}": value for metric, value in metrics.items()}
    return RunResult(name, values, {**TRAINING, **(training or {})}, "w", key or KEY)


def group(name="topk", evs=(0.80, 0.81, 0.82), first=0, training=None, **kwargs):
    seeds = [{**(training or {}), "seed": first + place} for place in range(len(evs))]
    return Group(name, tuple(result(f"{name}_seed{t['seed']}", ev, training=t, **kwargs) for ev, t in zip(evs, seeds)))


BASE = group()
EV = "core.explained_variance"


@pytest.mark.parametrize(("ev", "verdict"), [(0.84, "undecided"), (0.90, "improved"), (0.70, "worse")])
def test_only_outside_the_noise_floor(ev, verdict):
    assert compare(result(ev=ev), BASE).row("core.explained_variance").verdict == verdict


@pytest.mark.parametrize(("l0", "verdict"), [(32.00006, "no effect"), (32.1, "no effect")])
def test_where_seeds_differ_by_nothing_what_matters_is_the_size(l0, verdict):
    assert compare(result(l0=l0), BASE).row("core.l0").verdict == verdict


def test_without_a_direction_it_has_changed():
    assert compare(result(width=Value(5.0)), group(width=Value(2.0))).row("core.width").verdict == "changed"


def test_lower_is_better_turns_it_round():
    base = Group("topk", tuple(result(bad=Value(v, "lower")) for v in (1.0, 1.01, 1.02)))
    assert compare(result(bad=Value(0.5, "lower")), base).row("core.bad").verdict == "improved"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"l0": 40.0}, "L0"),
        ({"training": {"tokens": 2000}}, "tokens"),
        ({"l0": float("nan")}, "L0"),
        ({"training": {"data": "other"}}, "data"),
        ({"training": {"rows": 1021}}, "rows read"),
        ({"training": {"device": "cuda"}}, "device"),
        ({"training": {"versions": {"torch": "3"}}}, "versions"),
        ({"training": {"settings": {"d_sae": 128, "lr": 1e-3}}}, "dictionary size"),
        ({"key": {"core": {"evaluator": "new", "settings": "s"}}}, "evaluator of core"),
    ],
)
def test_an_unmatched_run_gets_no_verdict_whatever_the_score(change, what):
    comparison = compare(result(ev=0.99, **change), BASE)
    assert not comparison.comparable
    assert comparison.row("core.explained_variance").verdict == "not comparable"
    assert what in [confound.what for confound in comparison.confounds]


@pytest.mark.parametrize("rows", [1005, 400, None])
def test_few_rows_more_and_records_that_do_not_tell_void_nothing(rows):
    assert compare(result(training={"rows": rows}), BASE).confounds == ()


@pytest.mark.parametrize(
    ("key", "times", "said"),
    [
        ("flop", 1.05, []),
        ("flop", 1.3, ["training FLOP 1.3 times (baseline 1000)"]),
        ("flop", 1.9, ["training FLOP 1.9 times (baseline 1000), no verdict"]),
        ("updates", 4, ["updates per parameter 4 times (baseline 1000), no verdict"]),
        ("parameters_trained", 1.2, ["parameters trained 1.2 times (baseline 1000)"]),
        ("flop", None, []),
    ],
)
def test_more_compute_than_the_baselines_is_named_and_much_more_voids(key, times, said):
    base = group(training={key: 1000})
    found = compare(result(training={key: times and 1000 * times}), base).confounds
    assert [str(confound) for confound in found] == said
    assert compare(result(training={key: 5000}), BASE).confounds == (), "the baseline's record is of before"


@pytest.mark.parametrize(("share", "comparable"), [(0.01, True), (0.1, True), (0.9, False)])
def test_numbers_that_are_computed_with_outside_pytorch_are_named_and_many_void(share, comparable):
    taken = {"rows": 1000, "numbers_taken_out": round(share * 1000 * 32)}
    run = replace(result(training=taken), cost={"d_sae": 64, "decode_flop": 2 * 64 * 32})
    found = compare(run, group(training={"rows": 1000, "numbers_taken_out": 0})).confounds
    named = [confound for confound in found if confound.what.startswith("numbers taken out of PyTorch")]
    assert [confound.run for confound in named] == ([] if share < 0.02 else [f"{share:.4f}"])
    assert all(confound.blocks is not comparable for confound in named)


def test_a_learning_rate_is_named_and_does_not_void():
    comparison = compare(result(training={"settings": {"d_sae": 64, "lr": 5e-3}}), BASE)
    assert comparison.comparable
    assert [str(confound) for confound in comparison.confounds] == ["learning rate 0.005000 (baseline 0.001000)"]


@pytest.mark.parametrize(("rate", "said"), [(1e-3, []), (4e-3, ["0.004000"]), (0.0, ["unknown"])])
def test_a_learning_rate_of_the_steps_is_named_where_the_settings_do_not_tell(rate, said):
    run, base = result(training={"learning_rate": rate}), group(training={"learning_rate": 1e-3})
    found = compare(run, base)
    assert found.comparable
    assert [confound.run for confound in found.confounds if confound.what == "learning rate"] == said


def test_what_blocks_says_so():
    assert str(compare(result(l0=40.0), BASE).confounds[0]) == "L0 40 (baseline 32), no verdict"


def test_l0_that_nobody_measured_is_not_taken_to_match():
    run = result()
    del run.metrics["core.l0"]
    comparison = compare(run, BASE)
    assert not comparison.comparable
    assert str(comparison.confounds[0]) == "L0 unknown (baseline 32), no verdict"


def test_confounds_come_with_the_heaviest_first():
    run = result(l0=40.0, training={"tokens": 9, "data": "x", "seed": 7, "settings": {"d_sae": 65, "lr": 1}})
    named = [confound.what for confound in compare(run, BASE, changed=["the template"]).confounds]
    assert named == ["L0", "dictionary size", "tokens", "learning rate", "data", "the template"]


def test_what_changed_since_the_baseline_was_made_voids_the_verdict():
    assert compare(result(ev=0.99), BASE, changed=["the device"]).row("core.explained_variance").verdict == (
        "not comparable"
    )


def test_a_score_that_is_no_number_is_not_taken_for_noise():
    comparison = compare(result(ev=float("nan")), BASE)
    assert comparison.row("core.explained_variance").verdict == "not scored"
    assert outcome(Prediction("core.explained_variance", "same"), comparison) == "undecided"


def test_version_0_1_0_compared_fresh_seeds_of_both_in_pairs():
    ours, theirs = group("run_3_confirm", (0.91, 0.82, 0.73), 3), group("topk_fresh", (0.90, 0.80, 0.70), 3)
    row = compare(ours, theirs, terms=TERMS_OF_BEFORE).row("core.explained_variance")
    assert (row.pairs, row.verdict) == (3, "within noise")
    assert row.margin < 0.03
    now = compare(ours, theirs).row("core.explained_variance")
    assert (now.pairs, now.verdict) == (0, "undecided")
    assert now.margin > 0.1


def test_two_single_runs_are_told_apart_by_the_noise_of_the_baseline():
    earlier = Group("run_1", (result("run_1", ev=0.85),))
    row = compare(result("run_2", ev=0.86), earlier, BASE).row("core.explained_variance")
    assert row.verdict == "undecided"
    assert compare(result("run_2", ev=0.95), earlier, BASE).row("core.explained_variance").verdict == "improved"
    assert compare(result("run_2", ev=0.95), earlier).row("core.explained_variance").margin is None


values = st.floats(-10, 10, allow_nan=False)


@settings(max_examples=40, deadline=None)
@given(values, st.lists(values, min_size=2, max_size=4), st.permutations(range(4)))
def test_which_way_is_better_only_turns_the_verdict_round(value, base, order):
    def verdict(sign, better, numbers):
        runs = tuple(result(f"b{n}", bad=Value(sign * number, better)) for n, number in enumerate(numbers))
        return compare(result(bad=Value(sign * value, better)), Group("topk", runs)).row("core.bad").verdict

    found = verdict(1, "higher", base)
    assert verdict(-1, "lower", base) == found
    turned = {"improved": "worse", "worse": "improved"}
    assert verdict(1, "lower", base) == turned.get(found, found)
    assert verdict(1, "higher", [base[place] for place in order if place < len(base)]) == found


@pytest.mark.parametrize(
    ("ev", "smallest", "verdict"),
    [
        (0.812, 0.05, "undecided"),  # 0.81 ± 0.05: the interval reaches past 0.05
        (0.812, 0.06, "no effect"),
        (0.85, 0.06, "undecided"),
        (0.87, 0.06, "improved"),
        (0.87, 0.2, "no effect"),  # it is there, and does not matter
        (0.75, 0.06, "worse"),
    ],
)
def test_an_effect_is_seen_left_out_or_undecided(ev, smallest, verdict):
    row = compare(result(ev=ev), BASE, terms=Terms({EV: smallest})).row(EV)
    assert row.verdict == verdict
    low, high = row.interval
    assert (low, high) == (pytest.approx(ev - 0.81 - 0.0497, abs=1e-4), pytest.approx(ev - 0.81 + 0.0497, abs=1e-4))
    assert row.smallest == smallest
    # 4.30 + 1.06 standard errors, of two degrees of freedom.
    assert row.detectable == pytest.approx((4.303 + 1.061) * 0.01 * (4 / 3) ** 0.5, rel=1e-3)
    assert row.seeds == 2 if smallest >= 0.06 else row.seeds == 3


def test_what_another_metric_is_too_low_for_is_not_measurable():
    needs = ("core.f1", 0.5)

    def base(f1):
        more = {"core.bad": Value(0.3, "lower", needs=needs), "core.f1": Value(f1, "higher")}
        return Group("topk", tuple(replace(one, metrics={**one.metrics, **more}) for one in BASE.runs))

    def verdict(ours, theirs):
        run = result(bad=Value(0.1, "lower", needs=needs), f1=Value(ours, "higher"))
        return compare(run, base(theirs)).row("core.bad").verdict

    assert [verdict(0.6, 0.6), verdict(0.4, 0.6), verdict(0.6, 0.4)] == ["improved", "not measurable", "not measurable"]


def test_spreads_of_other_baselines_steady_one_that_is_small_by_luck():
    lucky = group(evs=(0.8000, 0.8001, 0.8002))
    others = tuple(group(f"topk_l0_{k}", (0.80, 0.81, 0.82, 0.80 + k / 1e4)) for k in (20, 24, 28))
    alone, beside = (compare(result(ev=0.803), lucky, terms=Terms(others=found)).row(EV) for found in ((), others))
    assert alone.margin < 0.001
    assert beside.margin > 5 * alone.margin
    assert (alone.verdict, beside.verdict) == ("no effect", "undecided")


def test_of_many_comparisons_those_are_named_that_are_left_when_false_discoveries_are_rare():
    seeds = tuple(0.8 + 0.01 * place for place in (-2, -1, -1, 0, 0, 1, 1, 2))

    def run(number, ev):
        found = result(f"run_{number}", ev=ev)
        headline = {name: replace(value, headline=value.better is not None) for name, value in found.metrics.items()}
        return compare(replace(found, metrics=headline), group(evs=seeds))

    # The second is just outside its interval; beside nineteen others that is to be expected.
    tally = count_outside([run(1, 0.95), run(2, 0.836), *(run(number, 0.805) for number in range(3, 21))])
    assert (tally.made, tally.outside) == (20, 2)
    assert tally.kept == (("run_1", EV),)


def test_one_seed_gives_no_floor_and_no_verdict():
    lone = Group("topk", (result(),))
    assert compare(result(ev=0.99), lone).row("core.explained_variance").verdict == "undecided"


SETTINGS = {"d_sae": 64, "lr": 1e-3, "warmup_fraction": 0.05}
COST = {
    "d_sae": 64,
    "parameters": 1000,
    "encode_flop": 2000,
    "decode_flop": 2000,
    "depth": 1,
    "activation": "relu topk",
}


def trained(name="run_1", ev=0.8, l0=32.0, architecture="topk", cost=None, **settings):
    """A run whose size was read off it, with settings of its own."""
    training = {"architecture": architecture, "settings": {**SETTINGS, "k": 32, **settings}}
    return replace(result(name, ev, l0, training), cost={**COST, **(cost or {})})


def topk(k=32, ev=0.8, l0=None, **settings):
    """TopK with three seeds as the lab trains it."""
    size = {"d_sae": settings.get("d_sae", 64)}
    evs = enumerate((ev, ev + 0.01, ev + 0.02))
    runs = [trained(f"s{seed}", one, l0 or float(k), "topk", size, k=k, **settings) for seed, one in evs]
    runs = [replace(run, training={**run.training, "seed": seed}) for seed, run in enumerate(runs)]
    return Group(group_name({"k": k, **settings}) if k != 32 or settings else "topk", tuple(runs))


def relu(l0=25.0, ev=0.7):
    """ReLU with three seeds as the profile has it."""
    evs = (ev, ev + 0.01, ev + 0.02)
    return Group("relu", tuple(trained(f"relu_seed{seed}", one, l0, "relu") for seed, one in enumerate(evs)))


def more_training(flop=1.0, rows=1.0, rate=1e-3):
    """A run that took so many times the baseline's operations in training, and rows of activations."""
    run = trained()
    return replace(run, training={**run.training, "flop": 1e9 * flop, "rows": 1000 * rows, "learning_rate": rate})


def judged(run, *known):
    return best_comparison(run, known, goal=EV)


@pytest.mark.parametrize(
    ("run", "missing"),
    [
        (trained(l0=46.0), [{"k": 46}]),
        (trained(l0=46.6), [{"k": 46}, {"k": 47}]),
        (trained(l0=33.0), [{"k": 33}]),  # one more latent is no idea
        (trained(l0=32.0), []),
        (trained(l0=32.05), []),
        (trained(l0=0.2), None),
        (trained(l0=float("nan")), None),
        (trained(architecture="relu", l0=25.0), [{"k": 25}]),
        (trained(architecture="mine", l0=25.0), [{"k": 25}]),
        (trained(lr=2e-3), [{"k": 32, "lr": 2e-3}]),
        (trained(warmup_fraction=0.2), [{"k": 32, "warmup_fraction": 0.2}]),
        (trained(l0=40.0, lr=2e-3), [{"k": 40}, {"k": 40, "lr": 2e-3}]),
        # Twice the dictionary, whatever the settings say; a hidden layer; rounds of optimisation.
        (trained(cost={"d_sae": 128, "parameters": 2000, "encode_flop": 4000}), [{"d_sae": 128, "k": 32}]),
        (trained(cost={"d_sae": 32, "parameters": 500, "encode_flop": 1000}), [{"d_sae": 32, "k": 32}]),
        (trained(cost={"parameters": 1200}), []),
        (trained(cost={"parameters": 1500}), [{"d_sae": 96, "k": 32}]),
        (trained(cost={"encode_flop": 3900}), []),
        (trained(cost={"encode_flop": 6000, "depth": 3}), [{"d_sae": 192, "k": 32}]),
        (trained(cost={"encode_flop": 22000, "depth": 11}), None),
        # Training that takes more, and rows beside those of the batches.
        (more_training(flop=1.4), []),
        (more_training(flop=1.9), [{"passes": 2.0, "k": 32}]),
        (more_training(flop=3.2), [{"passes": 3.5, "k": 32}]),
        (more_training(rows=2.0), [{"passes": 2.0, "k": 32}]),
        (more_training(flop=5.0), None),
        # The largest rate of a step, whatever the settings say; one far off is another optimiser's.
        (more_training(rate=1e-3), []),
        (more_training(rate=2e-3), [{"lr": 2e-3, "k": 32}]),
        (more_training(rate=0.1), []),
        (trained(lr=0.5), []),
    ],
)
def test_what_has_to_be_trained_before_there_is_a_verdict(run, missing):
    base = topk()
    measured = {"flop": 1e9, "rows": 1000, "learning_rate": 1e-3}
    base = replace(base, runs=tuple(replace(one, training={**one.training, **measured}) for one in base.runs))
    found = judged(run, base, relu())
    assert list(found.missing) == (missing or [])
    assert found.comparable == (missing == [])


def test_nothing_is_trained_for_a_run_that_would_have_no_verdict_all_the_same():
    run = trained(l0=46.0)
    other = replace(run, training={**run.training, "data": "other"})
    found = judged(other, topk())
    assert not found.comparable
    assert found.missing == ()


def test_a_verdict_is_there_once_all_is_trained():
    run = trained(ev=0.9, l0=40.0, lr=2e-3)
    assert judged(run, topk(), topk(40), topk(40, lr=2e-3)).row(EV).verdict == "improved"
    assert judged(run, topk(), topk(40), topk(40, 0.89, lr=2e-3)).row(EV).verdict == "undecided"
    assert judged(run, topk(), topk(40), topk(40, 0.89, lr=2e-3)).baseline.name == "topk_l0_40_lr_0.002"
    assert best_comparison(run, [topk(), topk(40)], goal=EV, matched=False).comparable


def test_topk_under_another_name_is_no_better_than_topk():
    known = [topk(), relu(25.0, 0.7), topk(25, 0.8)]
    found = judged(trained(ev=0.82, l0=25.0, architecture="relu"), *known)
    assert (found.baseline.name, found.row(EV).verdict) == ("topk_l0_25", "undecided")
    assert judged(trained(ev=0.95, l0=25.0, architecture="relu"), *known).row(EV).verdict == "improved"


def test_a_metric_improved_only_beside_each_baseline():
    def with_bad(group, value):
        spread = enumerate((value, value + 0.01, value - 0.01))
        bad = [
            replace(group.runs[n], metrics={**group.runs[n].metrics, "core.bad": Value(v, "lower")}) for n, v in spread
        ]
        return replace(group, runs=tuple(bad))

    run = trained(ev=0.82, l0=25.0, architecture="relu")
    run = replace(run, metrics={**run.metrics, "core.bad": Value(0.3, "lower")})
    found = judged(run, topk(), with_bad(relu(25.0, 0.7), 0.3), with_bad(topk(25, 0.8), 0.9))
    assert found.baseline.name == "topk_l0_25"
    row = found.row("core.bad")
    assert (row.verdict, row.against, row.baseline.value) == ("undecided", "relu", pytest.approx(0.3))


def test_an_l0_between_two_whole_numbers_lies_on_the_line_between_topk_at_both():
    low, high = topk(40, 0.80), topk(41, 0.84)
    found = judged(trained(ev=0.9, l0=40.75), topk(), low, high)
    assert found.comparable
    assert found.baseline.name == "topk_at_run_1"
    assert found.baseline.lookup(EV).value == pytest.approx(0.25 * low.lookup(EV).value + 0.75 * high.lookup(EV).value)
    assert found.baseline.lookup("core.l0").value == pytest.approx(40.75)
    assert len(found.baseline.runs) == 3


@pytest.mark.parametrize(("parameters", "missing"), [(2000, ({"d_sae": 128, "k": 32},)), (4000, ())])
def test_a_larger_dictionary_trains_more_parameters_and_two_of_them_as_many_again(parameters, missing):
    base = topk()
    base = replace(
        base, runs=tuple(replace(one, training={**one.training, "parameters_trained": 1000}) for one in base.runs)
    )
    wide = trained(cost={"d_sae": 128, "parameters": 2000, "encode_flop": 4000})
    found = judged(replace(wide, training={**wide.training, "parameters_trained": parameters}), base)
    assert not found.comparable
    assert found.missing == missing, "a baseline is trained only where there is a verdict afterwards"


def test_a_larger_topk_is_a_fair_opponent_of_a_hidden_layer():
    run = trained(ev=0.9, cost={"parameters": 1500, "encode_flop": 3000, "depth": 2})
    larger = topk(32, 0.8, d_sae=96)
    larger = replace(
        larger, runs=tuple(replace(one, cost={**COST, "d_sae": 96, "parameters": 1500}) for one in larger.runs)
    )
    found = judged(run, topk(), larger)
    assert found.row(EV).verdict == "improved"
    assert [c.what for c in found.confounds if not c.blocks][:1] == ["dictionary size"]


def test_a_run_of_twice_the_compute_is_judged_beside_topk_that_went_twice_through_its_batches():
    def measured(group, flop, steps, **more):
        training = {"flop": flop, "rows": 1000, "steps": steps, **more}
        return replace(group, runs=tuple(replace(one, training={**one.training, **training}) for one in group.runs))

    run = more_training(flop=1.9)
    run = replace(run, metrics={**run.metrics, EV: Value(0.85, "higher")})
    base, again = measured(topk(), 1e9, 10), measured(topk(32, 0.84), 2e9, 20, passes=2.0)
    assert not judged(run, base).comparable
    found = judged(run, base, again)
    assert (found.baseline.lookup(EV).value, found.row(EV).verdict) == (pytest.approx(0.85), "undecided")
    assert ("steps", False) in [(confound.what, confound.blocks) for confound in found.confounds]


def test_what_the_lab_read_off_an_sae_is_named():
    run = trained(cost={"parameters": 1100, "encode_flop": 2500, "depth": 2})
    more = {"core.negative_share": Value(0.4), "core.always_on": Value(8.0)}
    run = replace(run, metrics={**run.metrics, **more}, training={**run.training, "l0_at_end": 64.0})
    none = {"core.negative_share": Value(0.0), "core.always_on": Value(0.0)}
    base = replace(topk(), runs=tuple(replace(one, metrics={**one.metrics, **none}) for one in topk().runs))
    found = judged(run, base)
    assert found.comparable
    assert [confound.what for confound in found.confounds] == [
        *("parameters", "encode FLOP a token", "matrix products in a row in the encoder"),
        *("share of negative latents", "latents always on", "L0 in its last training steps"),
    ]


AT_58 = group("topk_l0_58", l0=58.0)


@pytest.mark.parametrize(
    ("architecture", "l0", "known", "against", "comparable"),
    [
        ("topk", 32.0, [BASE, AT_58], "topk", True),
        ("topk", 58.0, [BASE], "topk", False),
        ("topk", 57.0, [BASE, AT_58], "topk_l0_58", True),
        ("mine", 58.0, [BASE], "topk", False),
    ],
)
def test_a_run_that_version_0_1_0_scored_keeps_its_verdict(architecture, l0, known, against, comparable):
    comparison = comparison_of_before(result(l0=l0, training={"architecture": architecture}), known)
    assert (comparison.baseline.name, comparison.comparable) == (against, comparable)


@pytest.mark.parametrize(
    ("direction", "low", "high", "ev", "came"),
    [
        ("up", None, None, 0.9, "hit"),
        ("up", 0.05, 0.2, 0.9, "hit"),
        ("up", 0.2, None, 0.9, "miss"),
        ("down", None, None, 0.9, "miss"),
        ("up", None, None, 0.82, "undecided"),
        ("up", 0.3, None, 0.82, "miss"),
        ("same", None, None, 0.82, "undecided"),
        ("same", None, None, 0.9, "miss"),
    ],
)
def test_predictions(direction, low, high, ev, came):
    said = Prediction("core.explained_variance", direction, low, high)
    assert outcome(said, compare(result(ev=ev), BASE)) == came


@pytest.mark.parametrize(
    ("spread", "ev", "came"),
    [
        (0.0005, 0.8001, "hit"),
        (0.0005, 0.803, "hit"),
        (0.0005, 0.82, "miss"),
        (0.005, 0.8001, "undecided"),
        (0.005, 0.9, "miss"),
    ],
)
def test_the_same_is_a_hit_where_the_interval_holds_no_effect_that_matters(spread, ev, came):
    base = group(evs=(0.8, 0.8 + spread, 0.8 - spread))
    assert outcome(Prediction("core.explained_variance", "same"), compare(result(ev=ev), base)) == came


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([Prediction(EV, "up", 0.001, 0.05), Prediction("core.l0", "same")], []),
        ([Prediction(EV, "down"), Prediction("core.mse", "up", 0.2)], []),
        ([Prediction(EV, "down"), Prediction("absorption.mean_letter_f1", "up")], []),
        ([Prediction("core.l0", "same")], ["the goal"]),
        ([Prediction(EV, "up"), Prediction(EV, "down")], ["more than once"]),
        ([Prediction(EV, "up", 0.0, 1000.0)], ["a range"]),
        ([Prediction(EV, "up", 0.0001, 1000.0)], ["a range"]),
        ([Prediction(EV, "up", 0.05, 0.01)], ["a range"]),
        ([Prediction(EV, "same", 0.0, 100.0)], ["no size"]),
        ([Prediction(EV, "up"), Prediction("core.ce_loss_without_sae", "same")], ["whatever the SAE"]),
        ([Prediction(EV, "up"), Prediction("core.beauty", "up")], ["no metric"]),
    ],
)
def test_a_prediction_that_cannot_fail_is_refused(lines, said):
    scored = [EV, "core.l0", "core.mse", "core.ce_loss_without_sae"]
    found = unfit(lines, EV, scored, ["core.ce_loss_without_sae"])
    assert len(found) == len(said)
    assert all(part in line for part, line in zip(said, found, strict=True))


def test_lines_that_can_fail_are_kept():
    good = Prediction(EV, "up", 0.001, 0.05)
    lines = [good, Prediction("core.l0", "up"), Prediction("core.l0", "down"), Prediction("core.mse", "up", 0.0, 9.0)]
    assert fit(lines, [EV, "core.l0", "core.mse"], []) == [good]


def test_a_prediction_about_a_run_that_is_not_comparable_is_undecided():
    assert outcome(Prediction("core.explained_variance", "up"), compare(result(ev=0.99, l0=40.0), BASE)) == "undecided"


def test_nothing_is_the_same_where_there_is_no_noise_floor():
    assert outcome(Prediction("core.explained_variance", "same"), compare(result(), group(evs=(0.8,)))) == "undecided"


def test_a_prediction_about_what_was_not_scored_is_undecided():
    assert outcome(Prediction("scr.score", "up"), compare(result(), BASE)) == "undecided"


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
