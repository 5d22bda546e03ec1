"""Results in short: the old dicts of the seeds, ours, and dicts that are cut off or lie."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.base.errors import AgentError
from agent.compact import LONGEST, compact_file, compact_results, compact_text
from agent.compact.__main__ import main
from agent.compact.read import find_results

SEEDS = Path(__file__).parents[3] / "shared" / "seeds"
needs_seeds = pytest.mark.skipif(not SEEDS.is_dir(), reason="the seeds are not beside this checkout")


def old(d_sae: int = 18432, **changes: Any) -> dict[str, Any]:
    """A dict of the old kind, in full shape but small."""
    cfg = {"model_name": "google/gemma-2-2b", "d_in": 2304, "d_sae": d_sae, "hook_layer": 12, "architecture": "TopK"}

    def evaluation(kind: str, minutes: int, details: list[dict[str, Any]], **groups: Any) -> dict[str, Any]:
        return {
            "eval_type_id": kind,
            "datetime_epoch_millis": 1_738_000_000_000 + 60_000 * minutes,
            "eval_result_metrics": groups,
            "eval_result_details": details,
            "sae_bench_commit_hash": "60adde3" + "0" * 33,
            "sae_cfg_dict": dict(cfg),
        }

    letters = [{"first_letter": letter, "absorption_rate": 0.0113115608018350} for letter in "abc"]
    core = {
        "model_behavior_preservation": {"kl_div_score": 0.9909258540372671, "kl_div_with_sae": 0.0913},
        "model_performance_preservation": {
            "ce_loss_score": 0.9917763157894737,
            "ce_loss_with_sae": 3.0156,
            "ce_loss_without_sae": 2.9375,
        },
        "reconstruction_quality": {"explained_variance": 0.77734375, "mse": 1.4140625, "cossim": 0.9296875},
        "sparsity": {"l0": 320.0, "l1": 952.0},
    }
    config = {"trainer_class": "TrainerTopK", "lr": 0.0002, "steps": 4882, "dict_size": d_sae, "k": 320}
    probing = {
        "llm": {"llm_top_1_test_accuracy": 0.66, "llm_top_5_test_accuracy": 0.78},
        "sae": {"sae_top_1_test_accuracy": 0.7960375, "sae_top_5_test_accuracy": 0.87916875},
    }
    found = {
        "training results for layer 12": {
            "config": {**config, "lm_name": "google/gemma-2-2b", "layer": 12, "device": "cuda"},
            "final_info": {"training_steps": 4882, "final_loss": 2490.7, "learning_rate": 0.0002},
        },
        "absorption evaluation results": evaluation(
            "absorption_first_letter", 0, letters, mean={"mean_absorption_score": 0.0113115608018350}
        ),
        "core evaluation results": {"unique_id": "x", "metrics": core},
        "scr evaluations results": evaluation("scr", 9, [], scr_metrics={"scr_metric_threshold_20": 0.24151138199}),
        "tpp evaluations results": evaluation("tpp", 11, [], tpp_metrics={"tpp_threshold_20_total_metric": 0.0143}),
        "sparse probing evaluation results": evaluation("sparse_probing", 20, [], **probing),
        "unlearning evaluation results": evaluation("unlearning", 30, [], unlearning={"unlearning_score": 0.0599}),
    }
    return {**found, **changes}


def ours(**changes: Any) -> dict[str, Any]:
    """Our results.json."""
    entry = {
        "key": {"sae": "weights-1", "evaluator": "e1", "device": "cpu"},
        "metrics": {
            "explained_variance": {"value": 0.8571234, "better": "higher", "unit": ""},
            "l0": {"value": 32.0, "better": None, "unit": ""},
        },
        "details": {"long": list(range(1000))},
        "seconds": 1.0,
    }
    absorbed = {
        "key": {"sae": "weights-1", "evaluator": "e2", "device": "cpu"},
        "metrics": {"mean_full_absorption_score": {"value": 0.0312345678, "better": "lower", "unit": ""}},
        "details": {},
    }
    value = {"schema": 1, "sae": "weights-1", "profile": "smollm2", "entries": {"core": entry, "absorption": absorbed}}
    return {**value, **changes}


HEADLINES = (
    "kl_div_score 0.9909 ↑",
    "ce_loss_score 0.9918 ↑",
    "explained_variance 0.7773 ↑",
    "l0 320 ~",
    "mean_absorption_score 0.01131 ↓",
    "scr_metric_threshold_20 0.2415 ↑",
    "tpp_threshold_20_total_metric 0.0143 ↑",
    "sae_top_1_test_accuracy 0.796 ↑ (LLM 0.66)",
    "sae_top_5_test_accuracy 0.8792 ↑ (LLM 0.78)",
    "unlearning_score 0.0599 ↑",
)


@pytest.mark.parametrize("written", [repr, json.dumps, lambda value: json.dumps(value, indent=2)])
@pytest.mark.parametrize("before", ["", "Results: ", "## Run 0: Baseline\nResults: Baseline results from TopK SAE: \n"])
def test_python_or_json_with_or_without_a_heading(written: Any, before: str) -> None:
    shown = compact_text(f"{before}{written(old())}\nDescription: none.\n")
    for headline in HEADLINES:
        assert headline in shown
    for setting in ("architecture TopK", "model google/gemma-2-2b", "layer 12", "d_sae 18432", "k 320", "steps 4882"):
        assert setting in shown
    assert "nothing looks stale" in shown
    assert len(shown) <= LONGEST
    if "TopK SAE" in before:
        assert "Baseline results from TopK SAE" in shown


def test_a_part_of_another_sae_is_named() -> None:
    value = old()
    value["unlearning evaluation results"] = old(d_sae=4608)["unlearning evaluation results"]
    shown = compact_results(value)
    assert "unlearning is of another SAE: d_sae 4608; the rest has d_sae 18432" in shown


def test_a_part_much_older_than_the_rest_is_named() -> None:
    value = old()
    value["unlearning evaluation results"]["datetime_epoch_millis"] -= 15 * 3_600_000
    assert "unlearning may be stale" in compact_results(value)


def test_the_same_score_for_other_weights_is_named_on_both() -> None:
    first, second = old(), old()
    second["training results for layer 12"]["config"]["lr"] = 0.001
    second["training results for layer 12"]["final_info"]["learning_rate"] = 0.001
    for name in ("core", "scr", "tpp", "sparse probing", "unlearning"):
        part = next(value for key, value in second.items() if key.startswith(name))
        _scale(part.get("metrics", part.get("eval_result_metrics")), 0.9)
    one, two = compact_text(f"{first!r}\n{second!r}").split("\n\n")
    assert "absorption looks stale: identical to the last digit in result 2" in one
    assert "absorption looks stale: identical to the last digit in result 1" in two
    assert "scr looks stale" not in one + two
    assert "lr 0.001 (0.0002)" in two


def _scale(numbers: dict[str, Any], factor: float) -> None:
    for name, item in numbers.items():
        if isinstance(item, dict):
            _scale(item, factor)
        elif not name.startswith("llm_"):
            numbers[name] = item * factor


def test_a_copy_of_the_whole_is_no_staleness() -> None:
    assert "looks stale" not in compact_text(f"{old()!r}\n{old()!r}").replace("nothing looks stale", "")


def test_more_that_does_not_fit_together() -> None:
    value = old()
    value["core evaluation results"]["metrics"]["sparsity"]["l0"] = 8000.0
    value["training results for layer 12"]["final_info"]["learning_rate"] = 0.0003
    value["absorption evaluation results"]["eval_result_metrics"]["mean"]["mean_absorption_score"] = 0.5
    value["scr evaluations results"]["sae_bench_commit_hash"] = "1c64f65"
    value["tpp evaluations results"]["eval_result_metrics"]["tpp_metrics"]["tpp_threshold_20_total_metric"] = float(
        "nan"
    )
    shown = compact_text(repr(value))
    for said in (
        "the measured l0 is 8000, but k is 320",
        "43% of the dictionary",
        "lr is 0.0002 in its config and 0.0003 in its final info",
        "absorption.mean_absorption_score is 0.5, but its details have the mean 0.01131",
        "evaluator versions differ: scr (1c64f65)",
        "not a finite number: tpp.tpp_threshold_20_total_metric",
    ):
        assert said in shown


def test_scores_typed_under_several_runs_are_named() -> None:
    notes = "".join(f"## Run {number}\n - top: sae_top_1_test_accuracy = 0.7960375000001\n" for number in (1, 2, 3))
    shown = compact_text(f"{old()!r}\n{notes}")
    assert "sae_top_1_test_accuracy = 0.7960375000001 in Run 1, Run 2, Run 3" in shown


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.8, 0.95, 0.999])
def test_a_dict_that_breaks_off_gives_what_stands_before(share: float) -> None:
    text = repr(old())
    shown = compact_text(f"Results: {text[: int(share * len(text))]}")
    assert "the dict is cut off inside" in shown
    assert "lr 0.0002" in shown
    assert len(shown) <= LONGEST


def test_a_number_at_the_break_is_not_believed() -> None:
    text = repr(old())
    cut = text.index("0.9909258540372671") + 5
    assert "kl_div_score" not in compact_text(text[:cut])


def test_numpy_and_torch_numbers_are_read() -> None:
    text = (
        repr(old()).replace("0.0599", "np.float64(0.0599)").replace("1.4140625", "tensor(1.4140625, device='cuda:0')")
    )
    shown = compact_text(text)
    assert "unlearning_score 0.0599" in shown
    assert "mse 1.414" in shown


def test_nothing_is_evaluated(tmp_path: Path) -> None:
    trap = f"__import__('pathlib').Path({str(tmp_path / 'made')!r}).touch()"
    text = repr(old()).replace("0.0599", trap)
    assert "cut off" in compact_text(text)
    assert not (tmp_path / "made").exists()


def test_other_dicts_are_passed_over() -> None:
    text = "#### the idea: {'Name': 'x', 'Title': 'y', 'novel': True}\nf'{value}' {\"a\": [1, {'b': 2}]} {" + repr(
        old()
    )
    (found,) = find_results(text)
    assert found.value == old()


def test_one_evaluation_of_sae_bench_on_its_own() -> None:
    shown = compact_text(json.dumps(old()["absorption evaluation results"]))
    assert "mean_absorption_score 0.01131 ↓ " in shown


def test_deep_and_huge_inputs_end() -> None:
    assert compact_text("{'a':" * 5000) == ""
    huge = old()
    huge["more evaluation results"] = {f"metric_{number}": number / 7 for number in range(3000)}
    huge["more evaluation results"] = {"metrics": huge["more evaluation results"]}
    assert len(compact_text(repr(huge))) <= LONGEST


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 4000), st.text(max_size=30))
def test_any_damage_is_survived(position: int, junk: str) -> None:
    text = repr(old())
    position = min(position, len(text))
    for damaged in (text[:position] + junk, text[:position] + junk + text[position:]):
        for block in compact_text(damaged).split("\n\n"):
            assert len(block) <= LONGEST


_literals = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(max_size=8), _literals, max_size=4), st.sampled_from([repr, json.dumps]))
def test_literals_are_read_as_they_were_written(content: dict[str, Any], written: Any) -> None:
    value = {"core evaluation results": content}
    (found,) = find_results(written(value) + "\n")
    assert found.torn == ""
    assert repr(found.value) == repr(value)


def test_our_own_results() -> None:
    training = {
        "architecture": "topk",
        "profile": "smollm2",
        "settings": {"d_sae": 4608, "k": 32, "lr": 0.003},
        "seed": 1,
        "steps": 1500,
        "tokens": 1_536_000,
        "curves": {"step": [1, 2], "loss": [9.0, 3.25]},
    }
    shown = compact_results(ours(), training, title="run_1")
    assert shown.startswith("run_1\nsettings: profile smollm2, architecture topk, d_sae 4608, k 32, lr 0.003, seed 1")
    assert "tokens 1536000" in shown
    assert "final_loss 3.25" in shown
    assert "core: explained_variance 0.8571 ↑, l0 32 ~" in shown
    assert "absorption: mean_full_absorption_score 0.03123 ↓" in shown
    assert "nothing looks stale" in shown
    assert "999" not in shown


def test_an_entry_of_other_weights_is_named() -> None:
    value = ours()
    value["entries"]["absorption"] = copy.deepcopy(value["entries"]["absorption"])
    value["entries"]["absorption"]["key"]["sae"] = "weights-0"
    assert "absorption is of another SAE: weights weights-0; the rest has weights weights-1" in compact_results(value)


def test_a_folder_of_runs(tmp_path: Path) -> None:
    for name in ("run_0/topk_seed0", "run_2", "run_10"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        value = ours(sae=name)
        for entry in value["entries"].values():
            entry["key"]["sae"] = name
        if name == "run_10":
            value["entries"]["core"]["metrics"]["explained_variance"]["value"] = 0.9
            value["entries"]["absorption"]["metrics"]["mean_full_absorption_score"]["value"] = 0.0499999999
        (folder / "results.json").write_text(json.dumps(value))
    blocks = compact_file(tmp_path).split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == [
        "result 1: run_0/topk_seed0",
        "result 2: run_2",
        "result 3: run_10",
    ]
    assert "core looks stale: identical to the last digit in result 1, which differs in weights" in blocks[1]
    assert "looks stale:" not in blocks[2]
    assert compact_file(tmp_path / "run_2").startswith("result 1: ")
    assert compact_file(tmp_path / "run_2" / "results.json").startswith("run_2\n")


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(f"Results: {old()!r}\n")
    assert main([str(path)]) == 0
    assert "unlearning_score" in capsys.readouterr().out
    path.write_text("nothing here")
    assert main([str(path)]) == 2
    assert capsys.readouterr().err.startswith("error: no results in ")
    assert main([str(tmp_path / "missing")]) == 2
    assert "cannot read" in capsys.readouterr().err
    with pytest.raises(AgentError):
        compact_file(tmp_path)


@needs_seeds
@pytest.mark.parametrize(
    ("name", "dicts"),
    [
        ("notes_adaptive_temporal_consistency.txt", 3),
        ("notes_sparsity_guided_orthogonality.txt", 2),
        ("transcript_hierarchical_orthogonal_sae.txt", 4),
    ],
)
def test_every_dict_of_the_seeds_is_short_and_whole(name: str, dicts: int) -> None:
    text = (SEEDS / name).read_text(encoding="utf-8")
    found = find_results(text)
    assert len(found) == dicts
    blocks = compact_text(text).split("\n\n")
    assert len(blocks) == dicts
    for block, one in zip(blocks, found, strict=True):
        assert one.torn == ""
        for shown in (block, compact_text(repr(one.value))):
            assert len(shown) <= LONGEST
            assert "…" not in shown
            for key, metrics in (
                ("absorption", ["mean_absorption_score"]),
                ("unlearning", ["unlearning_score"]),
                ("core", ["kl_div_score", "ce_loss_score", "explained_variance", "l0"]),
                ("scr", ["scr_metric_threshold_20"]),
                ("tpp evaluations", ["tpp_threshold_20_total_metric"]),
                ("sparse probing", ["sae_top_1_test_accuracy", "sae_top_5_test_accuracy"]),
            ):
                if any(part.startswith(key) for part in one.value):
                    assert all(f" {metric} " in shown for metric in metrics)


@needs_seeds
def test_what_is_wrong_in_the_seeds_is_found() -> None:
    adaptive = compact_file(SEEDS / "notes_adaptive_temporal_consistency.txt").split("\n\n")
    assert all("absorption looks stale: identical to the last digit" in block for block in adaptive)
    assert "the measured l0 is 320, but target_l0 is 20" in adaptive[1]
    topk, standard, first, second = compact_file(SEEDS / "transcript_hierarchical_orthogonal_sae.txt").split("\n\n")
    assert (
        "unlearning is of another SAE: architecture Custom, d_sae 4608; the rest has architecture TopK, d_sae 18432"
        in topk
    )
    assert "unlearning is of another SAE: architecture JumpReLU, d_sae 65536" in standard
    assert "of another SAE" not in first + second
    assert "k 120 (320), steps 2441 (4882)" in first
    assert "ortho_weight 0.01" in second
    guided = compact_file(SEEDS / "notes_sparsity_guided_orthogonality.txt")
    assert "0.6448624999999999 in Run 1, Run 2, Run 3, Run 4, Run 5, Run 6, result 2" in guided
