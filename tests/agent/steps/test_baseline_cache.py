"""Kept baselines: what changed since they were made is named, damage is seen, nothing is overwritten."""

import json
import shutil

import pytest

from agent.steps.baseline_cache import (
    KIND,
    Recipe,
    copy_seeds,
    damage,
    differences,
    of_other_versions,
    other_conditions,
    set_aside,
)
from lab import cache

NOW = {
    "template": "t",
    "profile": {"name": "tiny", "training": {"lr": 0.003, "d_sae": 256}},
    "evals": ["core"],
    "facts": {
        "subject": "s",
        "data": "d",
        "training": "c",
        "evals": {"core": {"evaluator": "e", "settings": "s"}},
        "device": "cpu",
        "versions": {"torch": "2.10", "numpy": "2.0"},
    },
}
RECIPE = Recipe({"architecture": "topk"}, (0, 1))


def changed(part, value):
    """The conditions with one part replaced, named by its place."""
    made = json.loads(json.dumps(NOW))
    *place, last = part.split(".")
    inside = made
    for name in place:
        inside = inside[name]
    inside[last] = value
    return made


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("template", "other", "the template's experiment.py"),
        ("facts.evals.core", {"evaluator": "new", "settings": "s"}, "the evaluator of core"),
        ("facts.data", "other", "the data"),
        ("facts.subject", "other", "the subject model"),
        ("facts.training", "other", "the lab's training code"),
        ("facts.device", "NVIDIA", "the device (cpu to NVIDIA)"),
        ("facts.versions.torch", "2.11", "the version of torch (2.10 to 2.11)"),
        ("profile.training.lr", 0.01, "the profile's training.lr (0.003 to 0.01)"),
        ("evals", ["core", "absorption"], "the choice of evaluations"),
    ],
)
def test_whatever_a_score_depends_on_is_named_when_it_changed(part, value, said):
    assert differences(NOW, changed(part, value)) == [said]
    assert RECIPE.key(NOW) != RECIPE.key(changed(part, value))


def test_nothing_changed_is_nothing_said():
    assert differences(NOW, json.loads(json.dumps(NOW))) == []


def keep(key):
    return cache.entry(KIND, key, lambda folder: (folder / "made").write_text("x"))


def test_only_the_same_recipe_and_profile_under_other_conditions_is_offered(empty_cache):
    old = changed("facts.data", "older")
    keep(RECIPE.key(NOW))
    keep(Recipe({"architecture": "relu"}, (0, 1)).key(old))
    keep(Recipe({"architecture": "topk", "k": 24}, (0, 1)).key(old))
    keep(Recipe({"architecture": "topk"}, (3, 4)).key(old))
    keep(RECIPE.key(changed("profile.name", "another")))
    assert other_conditions(RECIPE, NOW) is None
    folder = keep(RECIPE.key(old))
    assert other_conditions(RECIPE, NOW) == (folder, old)


def test_what_another_version_wrote_is_counted_and_left_alone(empty_cache):
    keep({"architecture": "topk", "profile": {"name": "tiny"}})
    broken = keep({"some": "thing"})
    (broken / "key.json").write_text("{")
    keep(RECIPE.key(changed("facts.data", "older")))
    assert of_other_versions(RECIPE, NOW) == 2
    assert len(list((empty_cache / KIND).glob("*/key.json"))) == 3


@pytest.fixture
def whole(campaign, tmp_path):
    """A copy of the campaign's real TopK baseline, and the evaluators that scored it."""
    folder = tmp_path / "kept"
    shutil.copytree(campaign[0] / "run_0", folder)
    scored = json.loads((folder / "topk_seed0" / "results.json").read_text())["entries"]
    return folder, {name: {k: v for k, v in entry["key"].items() if k != "sae"} for name, entry in scored.items()}


def test_a_whole_baseline_has_no_damage(whole):
    folder, evaluators = whole
    assert damage(folder, RECIPE, evaluators) == ""
    assert damage(folder, RECIPE, None) == ""


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("topk_seed1", "cannot read"),
        ("topk_seed1/results.json", "cannot read"),
        ("topk_seed0/sae/weights.safetensors", "weights.safetensors is missing"),
        ("topk_seed0/sae", "sae.json is missing"),
    ],
)
def test_what_was_half_deleted_is_seen(whole, lost, said):
    folder, evaluators = whole
    shutil.rmtree(folder / lost) if (folder / lost).is_dir() else (folder / lost).unlink()
    assert said in damage(folder, RECIPE, evaluators)


def test_scores_of_another_evaluator_are_seen(whole):
    folder, evaluators = whole
    assert "another evaluator" in damage(folder, RECIPE, {**evaluators, "core": {"evaluator": "new"}})


def test_what_is_damaged_is_set_aside_and_kept(tmp_path):
    for number in (1, 2):
        folder = tmp_path / "abc"
        folder.mkdir()
        (folder / "file").write_text(str(number))
        assert set_aside(folder) == tmp_path / f"abc.damaged-{number}"
    assert (tmp_path / "abc.damaged-1" / "file").read_text() == "1"


def test_copies_go_by_the_name_they_are_given(whole, tmp_path):
    names = copy_seeds(whole[0], RECIPE, tmp_path / "out", "topk_fresh")
    assert names == ["topk_fresh_seed0", "topk_fresh_seed1"]
    assert (tmp_path / "out" / "topk_fresh_seed1" / "sae" / "sae.json").is_file()
