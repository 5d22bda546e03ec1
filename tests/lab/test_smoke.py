"""The smoke run as a process: the script as it is, a report in any case, and the very weights of a real run."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import artifact
from lab.activations import ActivationStore

TEMPLATE = Path(__file__).resolve().parents[2] / "templates" / "sae_experiment" / "experiment.py"


@pytest.fixture
def call(tmp_path: Path, tiny_profile_path: Path, tiny_store: ActivationStore):
    """Run a script with the given changes, and give the process and its report."""

    def run(*changes: tuple[str, str], profile: Path = tiny_profile_path):
        source = TEMPLATE.read_text()
        for old, new in changes:
            assert old in source
            source = source.replace(old, new)
        script, report = tmp_path / "experiment.py", tmp_path / "report.json"
        script.write_text(source)
        command = [sys.executable, "-P", "-m", "lab.smoke", str(script), "--report", str(report)]
        env = {**os.environ, "SAE_LAB_PROFILE": str(profile), "SAE_LAB_SMOKE_STEPS": "24", "SAE_LAB_DEVICE": "cpu"}
        command += ["--out_dir", str(tmp_path / "out")]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600, check=False)
        return done, json.loads(report.read_text())

    return run


def test_the_template_passes_and_trains_what_it_would_train_unwatched(call, tmp_path, tiny_profile_path) -> None:
    done, report = call()
    assert done.returncode == 0, done.stderr
    assert report["finished"]
    assert report["findings"] == []
    assert {"architecture", "k", "clip_norm"} <= set(report["reads"])
    assert "l1_coefficient" not in report["reads"]
    env = {**os.environ, "SAE_LAB_PROFILE": str(tiny_profile_path), "SAE_LAB_MAX_STEPS": "24", "SAE_LAB_DEVICE": "cpu"}
    plain, began = tmp_path / "plain", time.monotonic()
    subprocess.run([sys.executable, TEMPLATE, f"--out_dir={plain}"], env=env, check=True, timeout=600)
    assert report["seconds"] < 5 * (time.monotonic() - began)
    assert artifact.load(plain / "sae").fingerprint == report["weights"][0]
    assert not list(tmp_path.rglob("__pycache__")), "nothing is left beside the script"


def test_what_breaks_late_and_what_takes_too_much_is_reported(call, tmp_path, tiny_profile_path) -> None:
    small = tmp_path / "small.toml"
    small.write_text(tiny_profile_path.read_text().replace("[limits]", "[limits]\nrun_memory_gb = 0.1"))
    late = "        optimizer.step()\n        if batch.step == 50:\n            raise ValueError('late')"
    done, report = call(("        optimizer.step()", late), profile=small)
    assert done.returncode == 1
    assert "ValueError: late" in done.stderr
    assert not report["finished"]
    assert "GB of memory, and the limit is 0.1 GB" in report["findings"][0]
    assert len(report["weights"]) == 1
