"""The scripted campaign at a tiny setting, run once for all the tests that look at it."""

import json
import os
import subprocess
import sys

import pytest
from filelock import FileLock

from tests.agent.campaigns import IDEA, QUICK, ROOT, TINY, launch

PREPARE = """
import sys
from lab.prepare import main
sys.exit(max(main(["--profile", path]) for path in sys.argv[1:]))
"""


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A folder that all test processes have in common."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def prepared(shared):
    """The model, the activations and the evaluations' set-up of the tests' profiles, made once."""
    done = shared / "prepared"
    with FileLock(shared / "prepared.lock"):
        if not done.is_file():
            command = [sys.executable, "-c", PREPARE, str(TINY), str(QUICK)]
            subprocess.run(command, cwd=ROOT, check=True, timeout=600)
            done.touch()


@pytest.fixture(scope="session")
def campaign(prepared, shared):
    """The folder of a scripted campaign that was run as a user runs it, and its events; one for all test processes."""
    runs, events = shared / "campaign", shared / "campaign.jsonl"
    with FileLock(shared / "campaign.lock"):
        if not events.is_file():
            arguments = ["--idea", IDEA, "--model", "script", "--profile", TINY, "--runs", runs, "--json"]
            done = launch(*arguments, module="tests.agent.seeded")
            assert done.returncode == 0, done.stderr
            events.write_text(done.stdout)
    return next(runs.iterdir()), [json.loads(line) for line in events.read_text().splitlines()]
