"""Several ideas in one launcher: side by side, each in its folder, stopped and gone on with together, one budget."""

import json
import signal
import subprocess
import sys

import pytest

from agent.campaign.events import SettingsChanged
from agent.campaign.history import read_state
from agent.campaign.ledger import Ledger
from tests.agent.campaigns import IDEA, QUICK, ROOT, launch

SETTINGS = ["--profile", QUICK, "--max-runs", 1, "--confirm", 0, "--no-matched", "--json"]


@pytest.fixture
def ideas(tmp_path):
    """A folder with three ideas and their scripts: two that go through, and one that ends after its first reply."""
    folder = tmp_path / "ideas"
    folder.mkdir()
    idea = json.loads((ROOT / "ideas" / f"{IDEA}.json").read_text())
    replies = (ROOT / "ideas" / f"{IDEA}.script.jsonl").read_text().splitlines()
    nothing_to_plot = json.dumps({"reply": "ALL_COMPLETED"})
    for name, script in {
        "first": [*replies[:2], nothing_to_plot],
        "second": [*replies[:2], nothing_to_plot],
        "third": replies[:1],
    }.items():
        (folder / f"{name}.json").write_text(json.dumps({**idea, "Name": name, "Title": f"The {name} idea"}))
        (folder / f"{name}.script.jsonl").write_text("\n".join(script) + "\n")
    return folder


def test_three_ideas_are_stopped_and_gone_on_with_together(prepared, ideas, tmp_path):
    runs = tmp_path / "runs"
    arguments = ["--idea", "all", "--model", "script", "--ideas", ideas, "--runs", runs, "--jobs", 3, *SETTINGS]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.agent.seeded", *map(str, arguments), "--budget-tokens", "1000000"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    taken = set()
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "edited":
            taken.add(event["campaign"])
        if taken == {"first", "second"}:
            process.send_signal(signal.SIGINT)
            break
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 130
    folders = {path.name.split("_", 1)[1]: path for path in runs.iterdir() if path.is_dir()}
    assert sorted(folders) == ["first", "second", "third"]
    for name in ("first", "second"):
        assert f"{name}: stopped by the user" in errors
        assert f"--resume {folders[name]}" in errors
        assert Ledger(folders[name] / "ledger.jsonl").events[-1].kind == "stopped"

    done = launch("--resume", "all", "--runs", runs, "--jobs", 2, "--json")
    assert done.returncode == 2
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"{folders['third'].name}: error: the script")
    states = {name: read_state(Ledger(path / "ledger.jsonl").events) for name, path in folders.items()}
    assert {name: (state.completed, len(state.scored)) for name, state in states.items()} == {
        "first": (True, 1),
        "second": (True, 1),
        "third": (False, 0),
    }
    together = tuple(sorted(path.name for path in folders.values()))
    assert {state.settings.together for state in states.values()} == {together}
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert [line["campaign"] for line in outcome["campaigns"]] == ["done", "done", "stopped by an error"]
    assert outcome["campaigns"][0]["best run"].startswith("run_1: core.explained_variance ")
    assert all("campaign" in json.loads(line) for line in done.stdout.splitlines()[:-1])
    assert "campaign" not in outcome
    results = [json.loads((folders[name] / "run_1" / "results.json").read_text()) for name in ("first", "second")]
    assert results[0]["entries"]["core"]["metrics"] == results[1]["entries"]["core"]["metrics"]
    assert (runs / "index.html").is_file()


def test_one_budget_is_for_all_also_when_they_are_resumed(prepared, ideas, tmp_path):
    """A scripted reply has no token counts, so a transcript written by hand says what was spent."""
    runs = tmp_path / "runs"
    (ideas / "fourth.json").write_text((ideas / "third.json").read_text().replace('"third"', '"fourth"'))
    (ideas / "fourth.script.jsonl").write_text((ideas / "third.script.jsonl").read_text())
    command = ["--idea", "third", "--idea", "fourth", "--model", "script", "--ideas", ideas, "--runs", runs, *SETTINGS]
    command += ["--budget-tokens", 100, "--device", "nonsense"]
    assert launch(*command).returncode == 2  # there is no such device, so nothing was asked yet
    folders = sorted(path for path in runs.iterdir() if path.is_dir())
    line = {"n": 1, "reply": "x", "tokens_in": 90, "tokens_out": 10, "dollars": 0.0}
    (folders[1] / "transcript.jsonl").write_text(json.dumps(line) + "\n")
    for folder in folders:
        ledger = Ledger(folder / "ledger.jsonl")
        settings = read_state(ledger.events).settings.model_copy(update={"device": None})
        ledger.append(SettingsChanged(settings=settings))
    alone = launch("--resume", folders[0])
    assert alone.returncode == 3, alone.stderr
    assert "the budget of 100 tokens is used up" in alone.stderr
    both = ["--resume", folders[0], "--resume", folders[1], "--jobs", 2]
    done = launch(*both)
    assert done.returncode == 3
    assert done.stderr.count("the budget of 100 tokens is used up") == 2
    done = launch(*both, "--budget-tokens", 1000)
    assert done.returncode == 2
    assert done.stderr.count("is at its end: all 1 replies were given") == 2


def test_wrong_calls_make_nothing(ideas, tmp_path):
    for arguments, said in [
        (["--idea", "first", "--idea", "fourth"], "fourth: no idea 'fourth'"),
        (["--idea", "first", "--resume", "x"], "not both"),
        (["--idea", "first", "--jobs", "0"], "give a whole number, 1 or more, not '0'"),
        (["--idea", "first", "--jobs", "x"], "give a whole number, 1 or more, not 'x'"),
        (["--resume", "all"], "is left to go on with"),
    ]:
        done = launch(*arguments, "--ideas", ideas, "--runs", tmp_path / "runs", "--model", "script")
        assert done.returncode == 2
        assert said in done.stderr.strip().splitlines()[-1]
        assert not (tmp_path / "runs").exists()
