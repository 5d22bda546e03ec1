"""The lab's own baselines: they reach the L0 that is asked for, equal the template's, and are trained once."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from lab import artifact, baselines
from lab.activations import ActivationStore
from lab.architectures import TABLE, load
from lab.architectures.base import SAE
from lab.architectures.jumprelu import Jump
from lab.baselines import baseline
from lab.recipes import Recipe, Target
from lab.settings import Profile, load_profile

TEMPLATE = Path(__file__).resolve().parents[2] / "templates" / "sae_experiment" / "experiment.py"


@pytest.fixture(scope="module")
def short(tiny_profile_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests' profile with a sixth of its steps."""
    path = tmp_path_factory.mktemp("profile") / "short.toml"
    path.write_text(tiny_profile_path.read_text().replace("tokens = 30_720", "tokens = 5_120"))
    return path


def held_out_l0(sae: artifact.Artifact, store: ActivationStore) -> float:
    """On rows in the order of the corpus, most of which the run was trained on."""
    with torch.no_grad():
        return float((sae.encode(store.acts[-4096:].float()) > 0).sum() / 4096)


@pytest.mark.parametrize("name", TABLE)
def test_each_architecture_encodes_and_is_trained(name: str) -> None:
    found = load(name)
    assert issubclass(found.sae, SAE)
    assert issubclass(found.recipe, Recipe)
    assert found.sae.activate is not SAE.activate
    assert found.recipe.activate is not Recipe.activate


@pytest.fixture(scope="module")
def small_batches(tiny_profile_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests' profile with about as many steps as the embedded one has: steering needs them."""
    text = tiny_profile_path.read_text().replace("batch_size = 512", "batch_size = 128")
    path = tmp_path_factory.mktemp("profile") / "small_batches.toml"
    path.write_text(text.replace("tokens = 30_720", "tokens = 37_376"))
    return path


@pytest.mark.parametrize("architecture", TABLE)
def test_the_l0_that_is_asked_for_is_reached(
    architecture: str, tiny_profile: Profile, small_batches: Path, tiny_store: ActivationStore, tmp_path: Path
) -> None:
    arguments = ["--architecture", architecture, "--l0", "12", "--profile", str(small_batches), "--device", "cpu"]
    assert baselines.main([*arguments, "--out_dir", str(tmp_path)]) == 0
    sae = artifact.load(tmp_path / "sae")
    assert held_out_l0(sae, tiny_store) == pytest.approx(12, rel=0.1)
    assert (sae.architecture, sae.d_sae) == (architecture, tiny_profile.training.d_sae)
    record = json.loads((tmp_path / "training.json").read_text())
    assert record["steps"] == 292
    assert record["settings"]["l0"] == 12
    curve = record["curves"]["explained_variance"]
    assert curve[-1] > max(0.3, curve[0])


def test_the_top_k_is_the_templates(
    short: Path, tiny_store: ActivationStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = _load(TEMPLATE)
    for name, value in {"PROFILE": str(short), "SEED": "3", "DEVICE": "cpu", "SETTINGS": '{"k": 9}'}.items():
        monkeypatch.setenv(f"SAE_LAB_{name}", value)
    run = experiment.start(tmp_path / "template")
    cfg = run.configure(experiment.Config())
    run.save(experiment.train(run, cfg), cfg.architecture)
    arguments = ["--architecture", "topk", "--l0", "9", "--seed", "3", "--profile", str(short), "--device", "cpu"]
    assert baselines.main([*arguments, "--out_dir", str(tmp_path / "lab")]) == 0
    theirs, ours = (load_file(tmp_path / name / "sae" / artifact.WEIGHTS) for name in ("template", "lab"))
    for name in theirs:
        assert torch.equal(theirs[name], ours[name]), name


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("template_for_baselines", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_baseline_is_trained_once_and_kept(
    short: Path, tiny_store: ActivationStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = load_profile(str(short))
    first = baseline(profile, "jumprelu", 20.4, 1, "cpu")
    changed = (first / "training.json").stat().st_mtime_ns
    assert baseline(profile, "jumprelu", 19.6, 1, "cpu") == first
    assert baseline(profile, "jumprelu", 20.4, 2, "cpu") != first
    arguments = ["--architecture", "jumprelu", "--l0", "20", "--seed", "1", "--profile", str(short), "--device", "cpu"]
    assert baselines.main(arguments) == 0
    assert capsys.readouterr().out == f"{first}\n"
    assert (first / "training.json").stat().st_mtime_ns == changed
    monkeypatch.setenv("SAE_LAB_MAX_STEPS", "1")
    monkeypatch.setenv("SAE_LAB_SETTINGS", '{"lr": 1.0}')
    other = baseline(profile, "jumprelu", 20.4, 3, "cpu")
    record = json.loads((other / "training.json").read_text())
    assert record["steps"] == profile.training.steps, "the environment is an experiment's, not the baselines'"
    assert record["overrides"] == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--architecture", "crosscoder", "--l0", "9"], "unknown architecture 'crosscoder': choose from topk"),
        (["--architecture", "relu", "--l0", "0"], "an L0 of 0 cannot be had"),
        (["--architecture", "relu", "--l0", "nan"], "an L0 of nan cannot be had"),
        (["--architecture", "relu", "--l0", "256"], "below the 256 latents"),
        (["--architecture", "relu", "--l0", "9", "--device", "tpu"], "unknown device 'tpu'"),
        (["--architecture", "relu", "--l0", "9", "--seed", "-1"], "seed must be 0 or more"),
    ],
)
def test_a_wrong_call_is_one_line(
    arguments: list[str], message: str, tiny_profile_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert baselines.main(["--profile", str(tiny_profile_path), *arguments]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)


def test_an_unknown_profile_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert baselines.main(["--profile", "gpt5", "--architecture", "relu", "--l0", "9"]) == 2
    assert "unknown profile 'gpt5'" in capsys.readouterr().err


def test_the_target_falls_to_the_wanted_l0() -> None:
    target = Target(10.0)
    first = torch.tensor(1000.0)
    assert float(target.now(first, 0.0)) == pytest.approx(1000)
    assert float(target.now(torch.tensor(7.0), 0.15)) == pytest.approx(100)
    for progress in (0.3, 0.9):
        assert float(target.now(first, progress)) == pytest.approx(10)


def test_the_jump_and_its_estimated_gradient() -> None:
    """Against the formulas of arXiv:2407.14435, section 3, computed entry by entry."""
    width = 0.5
    pre = torch.tensor([[0.9, 1.1, 3.0], [1.2, -1.0, 0.2]], requires_grad=True)
    threshold = torch.tensor([1.0, 1.0, 1.0], requires_grad=True)
    values, l0 = Jump.apply(pre, threshold, width)
    assert torch.equal(values, torch.tensor([[0, 1.1, 3.0], [1.2, 0, 0]]))
    assert l0.item() == 1.5
    (2 * values.sum() + 3 * l0).backward()
    assert pre.grad is not None
    assert threshold.grad is not None
    assert torch.equal(pre.grad, 2 * (pre.detach() > 1).float())
    near = ((pre.detach() - 1).abs() < width / 2).float()
    expected = -(1 / width) * 2 * near.sum(0) - 3 / (width * len(pre)) * near.sum(0)
    assert torch.allclose(threshold.grad, expected)
