"""The wheel, installed where no checkout is to be seen and used from an empty folder; the command that it installs."""

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.agent.campaigns import IDEA, QUICK, ROOT
from tests.agent.test_keys_stay import IN_ENVIRONMENT, IN_FILE, files_of, found_in, run_watched

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of commands of an environment that has the wheel, and the libraries of this one beneath it."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    built = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder, ROOT]
    subprocess.run([*pip, *built], check=True, timeout=300)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True, timeout=300)
    python = folder / "env" / "bin" / "python"
    found = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(found, check=True, capture_output=True, text=True).stdout.strip())
    # What is found through a .pth file has no .pth files of its own read: the checkout's is not.
    (packages / "beneath.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "--python", python, "install", "--no-deps", "--no-index", wheel], check=True, timeout=300)
    return python.parent


@pytest.fixture(scope="module")
def home(installed, tmp_path_factory):
    """The empty folder that everything is started in."""
    return tmp_path_factory.mktemp("home")


def run(home, *command, code=0):
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=home, env=environ, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def ran(installed, home, prepared, tmp_path_factory):
    """A campaign of the installed command, keys in its environment and in `.env`, and what others could see of it."""
    own = tmp_path_factory.mktemp("profile") / QUICK.name
    own.write_text(re.sub(r"(?m)^(run|score|plot)_seconds = .*", r"\1_seconds = 400", QUICK.read_text()))
    (home / ".env").write_text("".join(f"{name}={value}\n" for name, value in IN_FILE.items()))
    options = ["--model", "script", "--profile", own, "--max-runs", "1", "--confirm", "0"]
    temporary = tmp_path_factory.mktemp("temporary")
    environ = {**os.environ, **IN_ENVIRONMENT, "TMPDIR": str(temporary)}
    environ.pop("PYTHONPATH", None)
    command = [installed / "sae-scientist", "--idea", IDEA, "--no-matched", *options]
    code, seen = run_watched(command, temporary, cwd=home, env=environ)
    (home / ".env").unlink()
    assert code == 0, seen["stderr"]
    return next((home / "runs").iterdir()), seen


def test_the_checkout_is_not_to_be_seen(installed, home):
    program = "import agent, lab; print(agent.__file__, lab.__file__, sep='\\n')"
    for line in run(home, installed / "python", "-c", program).stdout.splitlines():
        assert Path(line).is_relative_to(installed.parent)


def test_the_ideas_are_listed_and_may_be_ones_own(installed, home, tmp_path):
    names = [path.stem for path in (ROOT / "ideas").glob("*.json")]
    assert set(names) <= set(run(home, installed / "sae-scientist", "--list").stdout.splitlines())
    fields = ("Title", "Experiment", "Technical_Details", "Implementation_Plan")
    (tmp_path / "list.json").write_text(json.dumps([{"Name": "mine", **dict.fromkeys(fields, "text")}]))
    run(tmp_path, installed / "python", "-m", "agent.idea", "import", "list.json")
    assert (tmp_path / "ideas" / "mine.json").is_file()
    assert run(tmp_path, installed / "sae-scientist", "--list").stdout.splitlines()[0] == "mine"


def test_a_campaign_is_made_where_it_was_started(ran, installed, home):
    folder, _ = ran
    kinds = [json.loads(line)["kind"] for line in (folder / "ledger.jsonl").read_text().splitlines()]
    assert "scored" in kinds
    assert kinds[-1] == "completed"
    assert "as it was recorded" in run(home, installed / "python", "-m", "agent.verify", folder).stdout
    assert run(home, installed / "python", "-m", "agent.review", folder).stdout.strip() == str(folder / "report.html")
    run(home, installed / "python", "-m", "agent.audit", folder / "notes.txt", "--run", folder)


def test_its_children_run_what_is_installed(ran):
    _, seen = ran
    lines = [content for place, content in seen.items() if place.startswith("cmdline")]
    for part in (b"lab.prepare", b"lab.evaluate", b"experiment.py", b"jail.supervise"):
        assert any(part in line for line in lines), part
    assert not [line for line in lines if os.fsencode(ROOT) in line]


def test_no_key_is_seen_of_the_installed_command_or_its_children(ran):
    folder, seen = ran
    assert found_in({**seen, **files_of(folder)}) == []


def test_a_paper_is_begun_where_it_was_started(ran, installed, home):
    """The idea's scripted paper is of a longer campaign, so its replies are at an end before the paper is."""
    folder, _ = ran
    command = [installed / "python", "-m", "agent.writeup", folder, "--model", "script", "--no-compile"]
    assert "replies were given" in run(home, *command, code=2).stderr
    paper = home / "writeups" / folder.name
    assert {"references.bib", "sae-scientist.sty"} <= {path.name for path in paper.iterdir()}
