"""The scripted campaign at a tiny setting, run once for all the tests that look at it."""

import json
import subprocess
import sys

import pytest

from tests.agent.campaigns import IDEA, ROOT, TINY, launch


@pytest.fixture(scope="session")
def prepared():
    """The tiny profile's model, activations and evaluation set-up, made once."""
    command = [sys.executable, "-m", "lab.prepare", "--profile", str(TINY)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=600)


@pytest.fixture(scope="session")
def campaign(prepared, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    done = launch("--idea", IDEA, "--model", "script", "--profile", TINY, "--runs", runs, "--json")
    assert done.returncode == 0, done.stderr
    folder = next(runs.iterdir())
    return folder, [json.loads(line) for line in done.stdout.splitlines()]
