"""The template: its SAEs, its losses, its loop, alone and at the scale of gemma-2-2b."""

import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from lab import artifact
from lab.activations import ActivationStore

TEMPLATE = Path(__file__).resolve().parents[2] / "templates" / "sae_experiment"
D_IN = 16


def load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"template_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def experiment() -> ModuleType:
    return load_module(TEMPLATE / "experiment.py")


class FakeRun:
    """Random data of any width, with the parts of a run that the loop uses."""

    device = torch.device("cpu")

    def __init__(self, d_model: int, steps: int, batch_size: int) -> None:
        self.d_model, self.steps, self.batch_size = d_model, steps, batch_size
        self.generator = torch.Generator().manual_seed(0)
        self.directions = torch.randn(40, d_model, generator=self.generator)
        self.logged: list[dict] = []

    def acts(self, count: int) -> torch.Tensor:
        active = torch.rand(count, 40, generator=self.generator) < 0.1
        return (active * torch.rand(count, 40, generator=self.generator)) @ self.directions + 0.5

    def first_acts(self, count: int = 4096) -> torch.Tensor:
        return self.acts(min(count, 256))

    def autocast(self):
        return torch.autocast("cpu", torch.bfloat16, enabled=self.d_model > 1000)

    def batches(self):
        from types import SimpleNamespace

        for step in range(self.steps):
            yield SimpleNamespace(step=step, acts=self.acts(self.batch_size))

    def log(self, step: int, **values: object) -> None:
        self.logged.append(
            {"step": step, **{name: float(torch.as_tensor(value).detach()) for name, value in values.items()}}
        )


def config(experiment: ModuleType, **changes: object):
    values = {"d_sae": 64, "k": 4, "lr": 1e-2, "warmup_fraction": 0.1, "decay_fraction": 0.2, "l1_coefficient": 0.05}
    return experiment.Config(**{**values, **changes})


@pytest.mark.parametrize("architecture", ["topk", "relu"])
def test_it_learns(experiment: ModuleType, architecture: str) -> None:
    torch.manual_seed(0)
    run = FakeRun(D_IN, 300, 128)
    sae = experiment.train(run, config(experiment, architecture=architecture))
    first, last = run.logged[0], run.logged[-1]
    assert last["step"] == 299
    assert last["explained_variance"] > 0.75 > first["explained_variance"] + 0.2
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(64))
    x = run.acts(50)
    latents = sae.encode(x)
    assert latents.shape == (50, 64)
    assert (latents >= 0).all()
    if architecture == "topk":
        assert (latents > 0).sum(dim=1).max() <= 4
    torch.testing.assert_close(sae.decode(latents), sae.reconstruct(sae.activate(x)), rtol=1e-4, atol=1e-5)


def test_the_penalty_makes_relu_sparse(experiment: ModuleType) -> None:
    l0 = {}
    for coefficient in (0.01, 0.3):
        torch.manual_seed(0)
        run = FakeRun(D_IN, 150, 128)
        experiment.train(run, config(experiment, architecture="relu", l1_coefficient=coefficient))
        l0[coefficient] = run.logged[-1]["l0"]
    assert l0[0.3] < 0.7 * l0[0.01]


def test_latents_in_both_forms(experiment: ModuleType) -> None:
    x = torch.randn(8, D_IN)
    for architecture in (experiment.TopK, experiment.ReLU):
        sae = architecture(D_IN, config(experiment))
        latents = sae.activate(x)
        dense = latents.dense()
        assert dense.shape == (8, 64)
        assert torch.equal(latents.fired(), (dense > 0).any(dim=0))
        torch.testing.assert_close(dense @ sae.W_dec + sae.b_dec, sae.reconstruct(latents))
    assert latents.columns is None


def _step(experiment: ModuleType, sae, x: torch.Tensor, idle: torch.Tensor, any_dead: bool):
    from types import SimpleNamespace

    latents = sae.activate(x)
    error = x - sae.reconstruct(latents)
    return experiment.Step(SimpleNamespace(acts=x, step=0), latents, error, 0.0, idle, 100.0, any_dead)


def test_the_auxiliary_loss_trains_dead_latents_only(experiment: ModuleType) -> None:
    torch.manual_seed(0)
    sae = experiment.TopK(D_IN, config(experiment, aux_latents=8))
    idle = torch.zeros(64)
    idle[:3] = torch.tensor([200.0, 150.0, 99.0])
    x = torch.randn(32, D_IN)
    sae.auxiliary_k(_step(experiment, sae, x, idle, True)).backward()
    moved = sae.W_dec.grad.abs().sum(dim=1) > 0
    assert moved[:2].any()
    assert not moved[2:].any()
    assert "auxiliary" in sae.loss(_step(experiment, sae, x, idle, True))
    assert "auxiliary" not in sae.loss(_step(experiment, sae, x, idle, False))


def test_dead_latents_are_revived(experiment: ModuleType) -> None:
    """Latents that start far from any input come back with the auxiliary loss and stay dead without it."""
    dead = {}
    for coefficient in (0.0, 1.0):
        torch.manual_seed(0)
        run = FakeRun(D_IN, 400, 128)
        kill = experiment.SAE.__init__

        def start_half_dead(self, *arguments, kill=kill) -> None:
            kill(self, *arguments)
            self.b_enc.data[:32] = -5.0

        experiment.SAE.__init__ = start_half_dead
        try:
            experiment.train(run, config(experiment, aux_coefficient=coefficient, lr=3e-3, aux_latents=32))
        finally:
            experiment.SAE.__init__ = kill
        dead[coefficient] = run.logged[-1]["dead"]
    assert dead[0.0] > 0.3
    assert dead[1.0] < 0.7 * dead[0.0]


@pytest.mark.parametrize("architecture", ["topk", "relu"])
def test_the_scale_of_gemma(experiment: ModuleType, architecture: str) -> None:
    run = FakeRun(2304, 1, 4)
    cfg = config(experiment, architecture=architecture, d_sae=16384, k=320, aux_latents=512, dead_fraction=0.0)
    sae = experiment.train(run, cfg)
    assert sae.encode(run.acts(2)).shape == (2, 16384)
    assert all(torch.isfinite(torch.tensor(value)) for value in run.logged[-1].values())


def test_nothing_in_the_loop_waits_for_a_gpu(experiment: ModuleType) -> None:
    loop = "".join(inspect.getsource(part) for part in (experiment.train, experiment.TopK, experiment.ReLU))
    waits = r"\.(item|cpu|tolist|numpy|nonzero)\(|(?<![.\w])(print|float|bool|int)\("
    assert not re.search(waits, loop)


def test_it_fits_a_mind_and_a_prompt() -> None:
    text = (TEMPLATE / "experiment.py").read_text()
    assert len(text.splitlines()) <= 350
    assert len(text) < 14_000


@pytest.mark.parametrize("path", TEMPLATE.parent.rglob("*.py"), ids=lambda path: path.name)
def test_it_imports_the_lab_and_public_libraries_only(path: Path) -> None:
    imports = re.findall(r"^\s*(?:from|import)\s+(\.|\w+)", path.read_text(), re.MULTILINE)
    assert set(imports) <= {"lab", "matplotlib", "numpy", "torch", *sys.stdlib_module_names}


def run_template(out_dir: Path, profile: Path, **settings: object) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "SAE_LAB_PROFILE": str(profile),
        "SAE_LAB_SETTINGS": json.dumps(settings),
        "SAE_LAB_DEVICE": "cpu",
    }
    command = [sys.executable, "experiment.py", f"--out_dir={out_dir}"]
    return subprocess.run(
        command, cwd=TEMPLATE, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, tiny_profile_path: Path, tiny_store: ActivationStore
) -> dict[str, Path]:
    """The template's run of each architecture."""
    folders = {}
    for architecture in ("topk", "relu"):
        folders[architecture] = tmp_path_factory.mktemp("trained") / architecture
        done = run_template(folders[architecture], tiny_profile_path, architecture=architecture)
        assert done.returncode == 0, done.stderr
    return folders


@pytest.mark.parametrize("architecture", ["topk", "relu"])
def test_alone(trained: dict[str, Path], tiny_store: ActivationStore, architecture: str) -> None:
    run = trained[architecture]
    record = json.loads((run / "training.json").read_text())
    assert record["architecture"] == architecture
    assert record["tokens"] == record["steps"] * record["batch_size"] == 30_720
    assert record["curves"]["explained_variance"][-1] > 0.3
    sae = artifact.load(run / "sae")
    raw = tiny_store.acts[:512].float()
    latents = sae.encode(raw)
    l0 = (latents > 0).float().sum(dim=1).mean()
    assert 8 <= l0 <= 32
    assert (sae.decode(latents) - raw).square().sum() < 0.7 * (raw - raw.mean(dim=0)).square().sum()


def test_the_same_seed_gives_the_same_sae(trained: dict[str, Path], tmp_path: Path, tiny_profile_path: Path) -> None:
    assert run_template(tmp_path / "again", tiny_profile_path).returncode == 0
    fingerprints = {artifact.load(folder / "sae").fingerprint for folder in (trained["topk"], tmp_path / "again")}
    assert len(fingerprints) == 1


def test_a_wrong_setting_is_one_line(tmp_path: Path, tiny_profile_path: Path, tiny_store: ActivationStore) -> None:
    done = run_template(tmp_path / "run", tiny_profile_path, architecture="tree")
    assert done.returncode == 1
    assert done.stderr.strip() == "error: architecture is 'tree': use one of topk, relu"
