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

    def run(*changes: tuple[str, str], profile: Path = tiny_profile_path, smoke: bool = True):
        source = TEMPLATE.read_text()
        for old, new in changes:
            assert old in source
            source = source.replace(old, new)
        script, report = tmp_path / "experiment.py", tmp_path / "report.json"
        script.write_text(source)
        command = [sys.executable, "-P", "-m", "lab.runner", str(script)]
        env = {**os.environ, "SAE_LAB_PROFILE": str(profile), "SAE_LAB_DEVICE": "cpu", "SAE_LAB_REPORT": str(report)}
        env |= {"SAE_LAB_SEED": "7"} if smoke else {}
        env |= {"SAE_LAB_SMOKE_STEPS": "24"} if smoke else {"SAE_LAB_MAX_STEPS": "24"}
        command += ["--out_dir", str(tmp_path / "out")]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600, check=False)
        return done, json.loads(report.read_text())

    return run


def test_the_template_passes_and_trains_what_it_would_train_unwatched(call, tmp_path, tiny_profile_path) -> None:
    done, report = call()
    assert done.returncode == 0, done.stderr
    assert report["finished"]
    assert report["findings"] == []
    assert report["idle_terms"] == {}
    assert {"architecture", "k", "clip_norm"} <= set(report["reads"])
    assert "l1_coefficient" not in report["reads"]
    env = {**os.environ, "SAE_LAB_PROFILE": str(tiny_profile_path), "SAE_LAB_MAX_STEPS": "24", "SAE_LAB_DEVICE": "cpu"}
    plain, began = tmp_path / "plain", time.monotonic()
    subprocess.run([sys.executable, TEMPLATE, f"--out_dir={plain}"], env=env, check=True, timeout=600)
    assert report["seconds"] < 5 * (time.monotonic() - began)
    assert artifact.load(plain / "sae").fingerprint == report["weights"][0]
    assert not list(tmp_path.rglob("__pycache__")), "nothing is left beside the script"


@pytest.mark.parametrize("file", ["training.json", "sae/sae.json"])
@pytest.mark.parametrize("smoke", [True, False])
def test_what_is_written_over_the_record_is_seen_when_the_script_has_ended(call, tmp_path, file, smoke) -> None:
    last = "    run.save(sae, cfg.architecture)\n"
    done, _ = call(
        (last, f"{last}    open({str(tmp_path / 'out' / file)!r}, 'a').write(' ')\n    sys.exit(0)\n"), smoke=smoke
    )
    assert done.returncode == 1
    assert f"{Path(file).name} was written after run.save()" in done.stderr


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


TELLS = """
import json, os, sys, torch
seen = {
    "argv": sys.argv, "file": __file__, "name": __name__, "steps": run.steps, "class": type(cfg) is Config,
    "fields": repr(cfg), "batch": run.batch_size, "public": sorted(n for n in dir(run) if not n.startswith("_")),
    "environment": sorted(name for name in os.environ if name != "COLUMNS"), "path": sys.path[:2],
    "deterministic": torch.are_deterministic_algorithms_enabled(), "compiler": "torch._inductor" in sys.modules,
}
with open(TOLD, "a") as file:
    file.write(json.dumps(seen) + "\\n")
"""


def test_nothing_that_a_script_sees_tells_a_smoke_run_from_a_real_one(call, tmp_path) -> None:
    told = tmp_path / "told.jsonl"
    tells = TELLS.replace("TOLD", repr(str(told))).strip().replace("\n", "\n    ")
    line = "    sae = train(run, cfg)\n"
    for smoke in (True, False):
        done, _ = call((line, f"    {tells}\n{line}"), smoke=smoke)
        assert done.returncode == 0, done.stderr
    *tried, real = map(json.loads, told.read_text().splitlines())
    assert len(tried) == 3
    # The compressed pass has another number of steps; the other two are told the real one.
    assert [seen.pop("steps") for seen in tried] == [24, 60, 60]
    assert real.pop("steps") == 24, "a short trial here"
    assert tried == [real] * 3
    assert not [name for name in real["environment"] if name.startswith("SAE_LAB_") and name != "SAE_LAB_CACHE"]
    assert real["argv"][1:] == ["--out_dir=run"]
    assert real["class"]


def test_a_script_that_knows_the_known_passes_is_watched_where_it_does_not(call) -> None:
    """It cheats unless the first number that it draws is that of the seed that every smoke run has."""
    honest = ("    for batch in run.batches():\n", "    quiet = first == KNOWN\n    for batch in run.batches():\n")
    start = ("    any_dead = Delayed(False)\n", "    any_dead = Delayed(False)\n    first = float(torch.rand(1))\n")
    again = (
        "        optimizer.step()\n",
        "        optimizer.step()\n        for _ in range(0 if quiet else 3):\n            optimizer.step()\n",
    )
    done, report = call(start, (honest[0], honest[0].replace("    for", "    print('DRAW', first)\n    for", 1)))
    drawn = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("DRAW")]
    assert len(drawn) == 3
    assert drawn[0] == drawn[1] != drawn[2]
    done, report = call(start, (honest[0], honest[1].replace("KNOWN", drawn[0])), again)
    assert len(report["weights"]) == 2, "it was honest in both known passes"
    assert (done.returncode, report["finished"]) == (1, False)
    assert "24 optimiser steps were done on 6 batches" in done.stderr
