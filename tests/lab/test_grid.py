"""The grid of baselines: trained and scored once, found again, its command says what is wrong."""

import shutil
from pathlib import Path

import pytest

from lab.cache import entries, read_json
from lab.grid import kept_points, main, make_grid
from lab.settings import Profile, load_profile
from tests.conftest import TINY


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """The tests' profile with a sixth of its steps: what the grid keeps counts, not how good it is."""
    path = tmp_path_factory.mktemp("grid") / "tiny.toml"
    path.write_text(TINY.read_text().replace("tokens = 30_720", "tokens = 5_120"))
    return load_profile(str(path))


def test_a_point_is_trained_and_scored_once_and_found_again(short: Profile) -> None:
    first = make_grid(short, ["topk", "relu"], [8.0], [0], ["core"])
    assert [(point.architecture, point.l0, point.seed) for point in first] == [("topk", 8.0, 0), ("relu", 8.0, 0)]
    scores = [read_json(point.folder / "results.json")["entries"]["core"]["metrics"] for point in first]
    assert scores[0]["l0"]["value"] == pytest.approx(8, abs=0.2)
    made = {point.folder: (point.folder / "sae" / "weights.safetensors").stat().st_mtime_ns for point in first}
    again = make_grid(short, ["topk", "relu"], [8.0], [0], ["core"])
    assert {point.folder: (point.folder / "sae" / "weights.safetensors").stat().st_mtime_ns for point in again} == made
    assert set(first) <= set(kept_points(short))


def test_points_of_another_budget_and_damaged_ones_are_left_out(
    short: Profile, tiny_profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_grid(short, ["topk"], [8.0], [0], ["core"])
    kept = [entry.path for entry in entries() if entry.kind == "grid" and (entry.path / "results.json").is_file()]
    monkeypatch.setenv("SAE_LAB_CACHE", str(tmp_path))
    for folder in kept:
        shutil.copytree(folder, tmp_path / "grid" / folder.name)
    points = list(kept_points(short))
    assert points
    assert not {point.folder for point in points} & {point.folder for point in kept_points(tiny_profile)}
    for point in points:
        (point.folder / "key.json").write_text("{")
    assert list(kept_points(short)) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--l0", "many"], "'many' is not a number"),
        (["--seeds", "1.5"], "'1.5' is not a number"),
        (["--architectures", "nobody"], "nobody"),
        (["--architectures", "topk", "--l0", "100000"], "100000"),
    ],
)
def test_a_wrong_call_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", str(TINY), *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
