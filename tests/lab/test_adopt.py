"""An SAE from elsewhere becomes a run folder, is scored by the command, and is fetched from a hub."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from lab import artifact, evaluate
from lab.errors import LabError
from lab.place import check_place
from lab.settings import Profile

Run = Callable[..., int]


def sae_lens_folder(folder: Path, rows: torch.Tensor, **settings: Any) -> Path:
    """A JumpReLU SAE in SAELens' files, whose latents are directions of real activations, of any norm."""
    mean = rows.mean(0)
    W_enc = F.normalize(rows[:64] - mean, dim=1).T.contiguous()
    W_dec = W_enc.T * torch.linspace(0.5, 2, 64)[:, None]
    threshold = ((rows - mean) @ W_enc).quantile(0.9, dim=0)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {"W_enc": W_enc, "b_enc": torch.zeros(64), "W_dec": W_dec, "b_dec": mean, "threshold": threshold}
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "sae_weights.safetensors")
    cfg = {"architecture": "jumprelu", "d_in": 576, "d_sae": 64, "dtype": "float32", "device": "cpu"}
    cfg["metadata"] = {"sae_lens_version": "6.54.0", "hook_name": "blocks.2.hook_resid_post"}
    (folder / "cfg.json").write_text(json.dumps({**cfg, **settings}))
    return folder


@pytest.fixture
def rows(tiny_store: Any) -> torch.Tensor:
    return tiny_store.acts[:1024].float()


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tiny_subject: Any, tiny_profile_path: Path) -> Run:
    """The command on the tests' profile, with the model that is loaded already."""
    monkeypatch.setattr("lab.subject.load_subject", lambda *_: tiny_subject)
    common = ["--profile", str(tiny_profile_path), "--evals", "core", "--device", "cpu"]
    return lambda *arguments: evaluate.main([*map(str, arguments), *common])


def test_a_foreign_sae_is_scored(
    command: Run, rows: torch.Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = sae_lens_folder(tmp_path / "theirs", rows)
    assert command("--sae", source, "--out", tmp_path / "run") == 0
    assert "core: ce_loss_score" in capsys.readouterr().out
    found = json.loads((tmp_path / "run" / "results.json").read_text())
    metrics = {name: item["value"] for name, item in found["entries"]["core"]["metrics"].items()}
    from sae_lens import SAE

    sae = artifact.load(tmp_path / "run" / "sae")
    assert (sae.architecture, found["sae"]) == ("jumprelu", sae.fingerprint)
    assert sae.meta["source"]["name"] == str(source)
    with torch.no_grad():
        expected = SAE.load_from_disk(source)(rows)
        torch.testing.assert_close(sae.decode(sae.encode(rows)), expected, rtol=1e-4, atol=1e-3)
    assert metrics["l0"] == pytest.approx(6.4, rel=0.5)
    made = (tmp_path / "run" / "sae" / "sae.json").stat().st_mtime_ns
    assert command("--sae", source, "--out", tmp_path / "run") == 0
    assert command(tmp_path / "run") == 0
    assert (tmp_path / "run" / "sae" / "sae.json").stat().st_mtime_ns == made
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == found


@pytest.mark.parametrize(
    ("settings", "arguments", "message"),
    [
        ({"normalize_activations": "expected_average_only_in"}, [], "give it by --input-scale"),
        ({"normalize_activations": "expected_average_only_in"}, ["--input-scale", "-1"], "must be a number above 0"),
        ({"normalize_activations": "layer_norm"}, [], "it cannot be scored"),
        ({"metadata": {"hook_name": "blocks.9.hook_resid_post"}}, [], "reads blocks.9.hook_resid_post and what is"),
        ({"metadata": {"hook_name": "blocks.2.hook_mlp_out"}}, [], "reads blocks.2.hook_mlp_out and what is"),
    ],
)
def test_what_cannot_be_scored_leaves_no_folder(
    command: Run,
    rows: torch.Tensor,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    settings: dict[str, Any],
    arguments: list[str],
    message: str,
) -> None:
    source = sae_lens_folder(tmp_path / "theirs", rows, **settings)
    assert command("--sae", source, "--out", tmp_path / "run", *arguments) == 2
    said = capsys.readouterr().err
    assert message in said
    assert str(source) in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_scaled_activations_with_their_factor(command: Run, rows: torch.Tensor, tmp_path: Path) -> None:
    source = sae_lens_folder(tmp_path / "theirs", rows * 0.25, normalize_activations="expected_average_only_in")
    assert command("--sae", source, "--out", tmp_path / "run", "--input-scale", 0.25) == 0
    sae = artifact.load(tmp_path / "run" / "sae")
    plain = sae_lens_folder(tmp_path / "plain", rows)
    assert command("--sae", plain, "--out", tmp_path / "other") == 0
    other = artifact.load(tmp_path / "other" / "sae")
    with torch.no_grad():
        torch.testing.assert_close(sae.decode(sae.encode(rows)), other.decode(other.encode(rows)), rtol=1e-3, atol=1e-2)


def test_a_dead_decoder_row_cannot_be_folded(
    command: Run, rows: torch.Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = sae_lens_folder(tmp_path / "theirs", rows)
    from safetensors.torch import load_file

    weights = load_file(source / "sae_weights.safetensors")
    weights["W_dec"][5] = 0
    save_file(weights, source / "sae_weights.safetensors")
    assert command("--sae", source, "--out", tmp_path / "run") == 2
    assert "a row of zeros has no direction" in capsys.readouterr().err
    assert not list((tmp_path / "run").glob("*"))


def test_a_run_is_never_replaced(
    command: Run, rows: torch.Tensor, save_sae: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = save_sae(tmp_path / "run", "noisy").fingerprint
    source = sae_lens_folder(tmp_path / "theirs", rows)
    assert command("--sae", source, "--out", tmp_path / "run") == 2
    assert "holds another SAE already: give a new folder" in capsys.readouterr().err
    assert artifact.load(tmp_path / "run" / "sae").fingerprint == kept
    for own in (tmp_path / "run", tmp_path / "run" / "sae"):
        assert command("--sae", own, "--out", tmp_path / "new") == 2
        assert "of this lab" in capsys.readouterr().err
    empty = tmp_path / "empty"
    empty.mkdir()
    assert command("--sae", empty, "--out", tmp_path / "new") == 2
    assert "holds no SAE: SAELens' cfg.json" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("hook", "fits"),
    [
        (None, True),
        ("blocks.2.hook_resid_post", True),
        ("blocks.3.hook_resid_pre", True),
        ("model.layers.2", True),
        ("blocks.2.hook_resid_pre", False),
        ("blocks.2.attn.hook_z", False),
        ("", False),
    ],
)
def test_names_of_places(hook: str | None, fits: bool, tiny_profile: Profile) -> None:
    if fits:
        check_place("it", 576, hook, 576, tiny_profile)
    else:
        with pytest.raises(LabError, match=r"what is scored is blocks\.2\.hook_resid_post"):
            check_place("it", 576, hook, 576, tiny_profile)


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of a hub as fetching files needs. `files` are those of somebody/saes, at one commit."""

    files: dict[str, bytes]
    commit = "0123456789abcdef0123456789abcdef01234567"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = self.path.split("?")[0]
        name = path.split(f"/resolve/{self.commit}/", 1)[-1]
        if path.startswith("/api/models/somebody/saes/tree"):
            sizes = {each: len(content) for each, content in self.files.items()}
            tree = [{"type": "file", "path": each, "size": size, "oid": each} for each, size in sizes.items()]
            self._send(json.dumps(tree).encode(), body)
        elif path.startswith("/api/models/somebody/saes"):
            siblings = [{"rfilename": each} for each in self.files]
            self._send(json.dumps({"id": "somebody/saes", "sha": self.commit, "siblings": siblings}).encode(), body)
        elif path.startswith("/somebody/saes/resolve/") and name in self.files:
            self._send(self.files[name], body)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _send(self, content: bytes, body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.commit)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    """The address of a hub on this machine with an SAE in somebody/saes/layer_2."""
    folder = sae_lens_folder(tmp_path / "upstream", torch.randn(128, 576))
    files = {f"layer_2/{path.name}": path.read_bytes() for path in folder.iterdir()}
    handler = type("Filled", (Hub,), {"files": {**files, "README.md": b"x"}})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_sae_on_a_hub_is_fetched(hub: str, tmp_path: Path) -> None:
    program = (
        "import sys\nfrom lab.adopt import find\nfrom lab.errors import LabError\n"
        "for source in sys.argv[1:]:\n"
        "    try: print('found', find(source))\n"
        "    except LabError as error: print('error', error)\n"
    )

    def ask(*sources: str, **variables: str) -> list[str]:
        environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "hf"), **variables}
        command = [sys.executable, "-c", program, *sources]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    sources = ("somebody/saes/layer_2", "somebody/saes@main", "nobody/nothing/x")
    fetched, rootless, missing = ask(*sources, HF_HUB_OFFLINE="0")
    folder = Path(fetched.removeprefix("found "))
    assert sorted(path.name for path in folder.iterdir()) == ["cfg.json", "sae_weights.safetensors"]
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "upstream" / path.name).read_bytes()
    assert "has no SAE in its first folder: name the right one" in rootless
    assert "the hub has no such SAE, or it is private: check the name" in missing
    kept, absent = ask("somebody/saes/layer_2", "somebody/others", HF_HUB_OFFLINE="1")
    assert kept == fetched
    assert "the hub cannot be reached and no copy is here: check the network" in absent


def test_the_model_is_loaded_once(
    rows: torch.Tensor, tmp_path: Path, tiny_subject: Any, tiny_profile_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []

    def load(*_: object) -> Any:
        loads.append(1)
        return tiny_subject

    monkeypatch.setattr("lab.subject.load_subject", load)
    source = sae_lens_folder(tmp_path / "theirs", rows)
    names = ["core", "absorption"]
    found = evaluate.evaluate_foreign(str(source), tmp_path / "run", str(tiny_profile_path), names, "cpu")
    assert list(found["entries"]) == names
    assert len(loads) == 1
