"""The whole scripted campaign on the real small model: history, notes, ledger, figures, stopping and resuming."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from agent.campaign.events import SmokeFailed
from agent.campaign.history import read_state
from agent.campaign.ledger import Ledger
from agent.campaign.state import next_step
from tests.agent.campaigns import IDEA, QUICK, ROOT, launch
from tests.pace import idle_seconds


def git(folder, *arguments):
    return subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=True).stdout


def test_every_planned_run_is_scored(campaign):
    folder, events = campaign
    state = read_state(Ledger(folder / "ledger.jsonl").events)
    assert state.completed
    assert next_step(state) == ("done", None)
    assert len(state.scored) >= 5
    assert events[-1]["event"] == "result"
    assert events[-1]["scored"] == len(state.scored)
    for run in state.scored:
        results = json.loads((folder / f"run_{run.number}" / "results.json").read_text())
        assert results["sae"] == run.last.score.sae


def test_a_refused_reply_and_what_the_smoke_run_stopped_were_mended(campaign):
    state = read_state(Ledger(campaign[0] / "ledger.jsonl").events)
    assert [refusal.kind for run in state.runs for refusal in run.refused] == ["format"]
    failed = [run for run in state.runs if len(run.attempts) > 1]
    assert len(failed) == 1
    failure = failed[0].attempts[0].failure
    assert len(failure.output) <= 1500
    assert "Error" in failure.output
    assert isinstance(failure, SmokeFailed)
    assert (campaign[0] / failure.kept / "log.txt").is_file()
    assert failed[0].status == "scored"
    assert "was not started" in (campaign[0] / "notes.txt").read_text()
    assert all(run.last.smoke.seconds < 4 * run.last.ran.seconds for run in state.scored)


def test_no_two_runs_have_the_same_code(campaign):
    state = read_state(Ledger(campaign[0] / "ledger.jsonl").events)
    codes = [attempt.code for run in state.runs for attempt in run.attempts]
    assert len(set(codes)) == len(codes)


def test_the_history_shows_each_change(campaign):
    folder = campaign[0]
    subjects = git(folder, "log", "--reverse", "--format=%s").splitlines()
    assert subjects[0].startswith("Template and idea")
    for number in range(1, 6):
        assert any(subject.startswith(f"run_{number}") for subject in subjects)
    assert git(folder, "status", "--porcelain") == ""
    for commit in git(folder, "log", "--format=%H", "--grep=^run_").split():
        assert "experiment.py" in git(folder, "show", "--stat", "--format=", commit)


def test_the_notes_hold_every_run_and_only_measured_numbers(campaign):
    folder = campaign[0]
    notes = (folder / "notes.txt").read_text()
    state = read_state(Ledger(folder / "ledger.jsonl").events)
    for run in state.runs:
        assert f"## Run {run.number}: {run.last.change}" in notes
    assert "written beforehand (a script)" in notes
    assert "no such result" not in notes
    assert not re.search(r"\{\w+:", notes)
    for run in state.scored:
        results = json.loads((folder / f"run_{run.number}" / "results.json").read_text())
        value = results["entries"]["core"]["metrics"]["explained_variance"]["value"]
        section = notes.split(f"## Run {run.number}:")[1].split("\n## ")[0]
        assert f"{value:#.4g}" in section
        assert "Prediction (before the run) and outcome" in section
        assert "Analysis:" in section


def test_the_script_types_no_measured_number():
    for line in (ROOT / "ideas" / f"{IDEA}.script.jsonl").read_text().splitlines():
        analysis = json.loads(line)["reply"].partition("<analysis>")[2].partition("</analysis>")[0]
        assert not re.search(r"\d\.\d", re.sub(r"\{[^}]*\}", "", analysis)), analysis


def test_the_figures_are_there_and_named_in_the_notes(campaign):
    folder = campaign[0]
    listing = json.loads((folder / "figures" / "figures.json").read_text())
    assert len(listing) >= 3
    notes = (folder / "notes.txt").read_text()
    for name, description in listing.items():
        assert (folder / "figures" / name).stat().st_size > 5000
        assert (folder / "figures" / name).with_suffix(".csv").is_file()
        assert name in notes
        assert description in notes


def test_a_campaign_that_is_done_stays_as_it_is(campaign):
    folder = campaign[0]
    notes = (folder / "notes.txt").read_text()
    done = launch("--resume", folder, "--quiet")
    assert done.returncode == 0, done.stderr
    assert (folder / "notes.txt").read_text() == notes


def stop(runs, sign, event, count, *more):
    """Start the scripted campaign and stop it a second after an event came `count` times."""
    command = [sys.executable, "-m", "agent.launch", "--idea", IDEA, "--model", "script", "--profile", str(QUICK)]
    process = subprocess.Popen(
        [*command, "--runs", str(runs), "--json", *more],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        count -= json.loads(line)["event"] == event
        if count == 0:
            time.sleep(1.0)
            process.send_signal(sign)
            break
    _, errors = process.communicate(timeout=600)
    return next(runs.iterdir()), process.returncode, errors


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(prepared, tmp_path):
    folder, code, errors = stop(tmp_path, signal.SIGINT, "edited", 1)
    assert code == 130
    assert f"--resume {folder}" in errors
    assert len(errors.strip().splitlines()) == 1
    events = Ledger(folder / "ledger.jsonl").events
    assert events[-1].kind == "stopped"
    step, run = next_step(read_state(events))
    assert (step, run.number) == ("smoke", 1)
    # A run folder that can't be made is one line, too.
    shutil.rmtree(folder / "run_1", ignore_errors=True)
    (folder / "run_1").write_text("in the way")
    done = launch("--resume", folder, "--quiet")
    assert done.returncode == 2
    assert f"File exists: {folder / 'run_1'}" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_ledger_says_what_held_the_runs(campaign):
    said = [event for event in campaign[1] if event["event"] == "sandbox"]
    assert [event["way"] for event in said] in (["bubblewrap"], ["landlock"])


def test_without_a_sandbox_the_screen_and_the_ledger_say_so(prepared, tmp_path):
    folder, _, errors = stop(tmp_path, signal.SIGINT, "sandbox", 1, "--no-sandbox")
    assert "warning: no sandbox: what the model writes runs with all your rights" in errors
    events = Ledger(folder / "ledger.jsonl").events
    assert events[0].settings.sandbox is False
    assert [event.way for event in events if event.kind == "sandbox"] == ["none"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--idea", "no_such_idea"], "no idea 'no_such_idea'"),
        ([], "no idea was named"),
        (["--idea", IDEA, "--profile", "no_such_profile"], "no_such_profile"),
        (["--idea", IDEA, "--profile", "missing.toml"], "missing.toml"),
        (["--idea", IDEA, "--model", "nobody:x"], "nobody:x"),
        (["--idea", IDEA, "--model", "replay:missing.jsonl"], "missing.jsonl"),
        (["--idea", IDEA, "--model", "script", "--max-runs", "0"], "--max-runs"),
        (["--idea", IDEA, "--model", "script", "--confirm", "1"], "--confirm: one seed tells nothing of the noise"),
        (["--idea", IDEA, "--model", "script", "--goal", "core.l0"], "--goal core.l0: no evaluation scores it"),
        (["--idea", "sparsity_guided_orthogonality", "--model", "script"], "no scripted campaign"),
        (["--resume", "."], "not a campaign's folder"),
    ],
)
def test_a_wrong_call_is_one_line_and_makes_nothing(tmp_path, arguments, said):
    runs = tmp_path / "runs"
    done = launch(*arguments, "--runs", runs)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not runs.exists()


def test_a_full_disk_is_one_line_and_makes_nothing(tmp_path):
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small disk needs root")
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", small], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this machine mounts no tmpfs")
    try:
        done = launch("--idea", IDEA, "--model", "script", "--profile", QUICK, "--runs", small / "runs")
        assert done.returncode == 2
        assert "No space left" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert list((small / "runs").iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_help_answers_at_once():
    assert launch("--help").returncode == 0
    assert idle_seconds(lambda: launch("--help")) < 0.3
