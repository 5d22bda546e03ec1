"""Campaigns on a real Slurm of one node. Skipped where Slurm is not installed, or for another than root."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.campaign.workspace import Workspace
from tests.agent.campaigns import IDEA, QUICK, ROOT, launch
from tests.agent.compute.slurm.cluster import wait_until

STEPS = ["run 1: scoring", "run 1: smoke run", "run 1: training"]
WEIGHTS = {"first": 0.02, "second": 0.05, "third": 0.1, "fourth": 0.2}


@dataclass(frozen=True)
class Locally:
    """Four campaigns on this machine."""

    arguments: list
    runs: Path
    process: subprocess.Popen


@pytest.fixture(scope="module")
def locally(cluster, prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locally]:
    """Four ideas, whose runs differ in a weight, as they end without a cluster."""
    folder = tmp_path_factory.mktemp("ideas")
    idea = json.loads((ROOT / "ideas" / f"{IDEA}.json").read_text())
    replies = (ROOT / "ideas" / f"{IDEA}.script.jsonl").read_text().splitlines()
    for name, weight in WEIGHTS.items():
        edit = replies[0].replace("competition_weight: float = 0.05", f"competition_weight: float = {weight}")
        (folder / f"{name}.json").write_text(json.dumps({**idea, "Name": name, "Title": f"The {name} idea"}))
        script = [edit, replies[1], json.dumps({"reply": "ALL_COMPLETED"})]
        (folder / f"{name}.script.jsonl").write_text("\n".join(script) + "\n")
    arguments = ["--idea", "all", "--ideas", folder, "--model", "script", "--profile", QUICK]
    arguments += ["--max-runs", 1, "--confirm", 0, "--no-matched", "--device", "cpu", "--quiet"]
    runs = tmp_path_factory.mktemp("locally")
    with started([*arguments, "--runs", runs, "--jobs", 2]) as process:
        yield Locally(arguments, runs, process)


@contextmanager
def started(arguments: list) -> Iterator[subprocess.Popen]:
    """A launcher, which is killed in the end."""
    command = [sys.executable, "-m", "tests.agent.seeded", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, env=one_thread(), stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def one_thread() -> dict[str, str]:
    """Sums in another order would be other numbers."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def numbers(folder: Path) -> dict:
    results = json.loads((folder / "run_1" / "results.json").read_text())
    return {name: entry["metrics"] for name, entry in results["entries"].items()}


def notes(folder: Path) -> str:
    """The notes, without what differs from one time to another."""
    text = (folder / "notes.txt").read_text().replace(folder.name, "")
    return re.sub(r"\d+(\.\d+)? (s|min)\b|git diff \w+ \w+", "", text)


def test_a_cluster_that_does_not_answer_is_one_line_and_makes_nothing(tmp_path):
    if shutil.which("sbatch") is None:
        pytest.skip("Slurm is not installed")
    (config := tmp_path / "slurm.conf").write_text(
        "ClusterName=none\nSlurmctldHost=nobody(127.0.0.1)\nSlurmctldPort=9\n"
    )
    runs = tmp_path / "runs"
    arguments = ["--idea", IDEA, "--model", "script", "--profile", QUICK, "--runs", runs, "--executor", "slurm"]
    done = launch(*arguments, env={**os.environ, "SLURM_CONF": str(config)})
    assert done.returncode == 2
    assert done.stderr.startswith("error: Slurm does not answer here (")
    assert done.stderr.count("\n") == 1
    assert not runs.exists()


def test_four_ideas_end_as_they_do_locally_also_when_the_launcher_is_killed(cluster, locally, tmp_path):
    file, there = tmp_path / "cluster.toml", tmp_path / "there"
    file.write_text('partition = "main"\npoll_seconds = 0.5\nmemory_gb = 4\ncpus = 1\n[extra]\ncomment = "a test"\n')
    arguments = [*locally.arguments, "--runs", there, "--executor", "slurm", "--slurm", file]
    trains = '"label": "run 1: training"'
    with started(arguments):
        wait_until(lambda: any(trains in ledger.read_text() for ledger in there.glob("*/ledger.jsonl")), seconds=400)
    done = launch("--resume", "all", "--runs", there, env=one_thread())
    assert done.returncode == 0, done.stderr
    assert re.search(r"job \d+ is found again \(run 1: training\)", done.stdout)
    assert locally.process.wait(600) == 0

    for name in WEIGHTS:
        one, other = (next(place.glob(f"*_{name}")) for place in (locally.runs, there))
        assert numbers(one) == numbers(other)
        assert notes(one) == notes(other)
        jobs = [event.label for event in Workspace(other).ledger.events if event.kind == "submitted"]
        assert sorted(job for job in jobs if job.startswith("run")) == STEPS
        assert subprocess.run(["git", "-C", other, "status", "--porcelain"], capture_output=True).stdout == b""
    verified = subprocess.run([sys.executable, "-m", "agent.verify", other], cwd=ROOT, capture_output=True, text=True)
    assert verified.returncode == 0, verified.stdout
