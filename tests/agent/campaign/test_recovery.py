"""Recovery of what a killed launcher or a power cut left half done; what stands in the way is said in one line."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.base.errors import AgentError
from agent.base.files import remove_scratch, remove_unfinished, scratch_prefix, write_atomically
from agent.campaign.events import Resumed, Stopped
from agent.campaign.folder import EXPERIMENT
from agent.campaign.ledger import Ledger
from agent.campaign.recovery import recover
from agent.campaign.settings import Settings
from agent.campaign.state import next_step
from agent.campaign.workspace import DAY, Workspace
from agent.idea import parse_idea
from agent.steps.after_step import after_step
from agent.steps.figures import edit_plots
from agent.steps.score import score
from agent.steps.smoke import smoke
from bench.writeup.cases import unpack
from tests.agent.campaigns import cut_after, launch, mounted

IDEA = parse_idea(
    {"Name": "an_idea", "Title": "T", "Experiment": "e", "Technical_Details": "d", "Implementation_Plan": "p"}, "here"
)
SETTINGS = Settings()


@pytest.fixture
def workspace(tmp_path):
    return Workspace.create(IDEA, SETTINGS, tmp_path / "runs")


def subjects(folder):
    log = subprocess.run(["git", "-C", folder, "log", "--format=%s"], capture_output=True, text=True, check=True)
    return log.stdout.splitlines()


def test_weights_cut_short_by_a_power_cut_are_trained_again(campaign, tmp_path):
    cut = cut_after(campaign[0], tmp_path / "ws", "ran")
    with (tmp_path / "ws" / "run_1" / "sae" / "weights.safetensors").open("r+b") as file:
        file.truncate(1000)
    score(cut, cut.state.open_run)
    assert cut.workspace.ledger.events[-1].kind == "lost"
    assert next_step(cut.state) == ("train", cut.state.open_run)


def test_half_written_scores_are_made_again(campaign, tmp_path):
    """Also where the launcher had put the run away as failed, and was killed before it could say so."""
    cut = cut_after(campaign[0], tmp_path / "ws", "ran")
    folder = tmp_path / "ws" / "run_1"
    before = json.loads((folder / "results.json").read_text())
    whole = (folder / "results.json").read_text()
    (folder / "results.json").write_text(whole[: len(whole) // 2])
    (folder / ".results.json.0a1b2c3d.new").write_text(whole[:100])
    folder.rename(tmp_path / "ws" / "run_1_failed_1")
    score(cut, cut.state.open_run)
    assert cut.state.runs[0].status == "scored"
    after = json.loads((folder / "results.json").read_text())
    assert after["entries"]["core"]["metrics"] == before["entries"]["core"]["metrics"]
    assert not (folder / ".results.json.0a1b2c3d.new").exists()


def test_what_is_run_is_what_was_committed(campaign, tmp_path):
    cut = cut_after(campaign[0], tmp_path / "ws", "edited")
    run = cut.state.open_run
    (tmp_path / "ws" / EXPERIMENT).write_text("raise SystemExit('not what the ledger says')\n")
    smoke(cut, run)
    assert cut.workspace.read(EXPERIMENT) == cut.workspace.at(run.last.commit, EXPERIMENT)
    assert cut.workspace.ledger.events[-1].kind == "smoked"


def test_an_edit_of_the_plots_that_was_not_recorded_is_made_once(campaign, tmp_path):
    """The commit is there, its event is not."""
    events = Ledger(campaign[0] / "ledger.jsonl").events
    before = next(event.kind for event in reversed(events) if event.kind in ("confirmed", "confirming"))
    cut = cut_after(campaign[0], tmp_path / "ws", before)
    assert next_step(cut.state)[0] == "plot_edit"
    history = subjects(tmp_path / "ws")
    edit_plots(cut)
    assert cut.workspace.ledger.events[-1].kind == "plot_edited"
    assert subjects(tmp_path / "ws") == history
    original = next(event for event in events if event.kind == "plot_edited")
    assert cut.workspace.at("HEAD", "plot.py") == cut.workspace.at(original.commit, "plot.py")


def test_the_notes_of_a_step_are_committed_by_whoever_comes_next(campaign, tmp_path):
    cut = cut_after(campaign[0], tmp_path / "ws", "scored")
    commit = next(e.commit for e in cut.workspace.ledger.events if e.kind == "edited")
    subprocess.run(["git", "-C", tmp_path / "ws", "reset", "--quiet", "--hard", commit], check=True)
    after_step(cut)
    assert subjects(tmp_path / "ws")[0] == "Notes: run_1: scored"
    count = len(cut.workspace.ledger.events)
    after_step(cut)
    assert subjects(tmp_path / "ws")[1].startswith("run_1: ")
    assert len(cut.workspace.ledger.events) == count


def test_a_run_whose_tries_are_used_up_is_given_up_by_whoever_comes_next(campaign, tmp_path):
    events = Ledger(campaign[0] / "ledger.jsonl").events
    assert any(event.kind == "smoke_failed" for event in events)
    cut = cut_after(campaign[0], tmp_path / "ws", "smoke_failed", smoke_tries=1)
    number = cut.state.open_run.number
    after_step(cut)
    assert cut.state.open_run is None
    assert cut.state.runs[number - 1].given_up.startswith("1 smoke runs failed, last: ")


def test_the_lock_names_a_living_holder_and_is_free_once_that_is_killed(workspace):
    code = (
        "import sys, time; from pathlib import Path; from agent.campaign.workspace import Workspace\n"
        "with Workspace(Path(sys.argv[1])).lock():\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(workspace.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        who = f"process {holder.pid} on {os.uname().nodename}"
        with pytest.raises(AgentError, match=f"in use by {who};"), workspace.lock():
            pass
        said = launch("--resume", workspace.path)
        assert said.returncode == 2
        assert said.stderr.strip().splitlines() == [
            f"error: {workspace.path} is in use by {who}; wait for it or stop it"
        ]
        holder.send_signal(signal.SIGKILL)
    with workspace.lock():
        assert (workspace.path / ".lock").read_text() == f"{os.getpid()} on {os.uname().nodename}"


def test_what_another_launcher_wrote_before_it_let_go_is_not_overwritten(workspace):
    late = Workspace(workspace.path)
    workspace.ledger.append(Stopped(reason="by the one before"))
    with late.lock():
        late.ledger.append(Resumed())
    assert [event.kind for event in Ledger(workspace.path / "ledger.jsonl").events] == ["started", "stopped", "resumed"]


def test_a_folder_that_cannot_be_written_is_one_line(workspace):
    (workspace.path / ".lock").unlink()
    (workspace.path / ".lock").mkdir()
    said = launch("--resume", workspace.path)
    assert said.returncode == 2
    assert f"cannot write {workspace.path / '.lock'}: Is a directory" in said.stderr
    assert len(said.stderr.strip().splitlines()) == 1


def test_a_disk_that_may_only_be_read_is_one_line(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mounted("-t", "tmpfs", "-o", "size=10m", "none", disk):
        pytest.skip("mounting a small disk needs root")
    try:
        folder = Workspace.create(IDEA, SETTINGS, disk / "runs").path
        assert mounted("-o", "remount,ro", disk)
        said = launch("--resume", folder)
        assert said.returncode == 2
        assert f"cannot write {folder / '.lock'}: Read-only file system" in said.stderr
        assert len(said.stderr.strip().splitlines()) == 1
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_git_that_fails_is_one_line(workspace):
    (workspace.path / ".git" / "index.lock").write_text("")
    (workspace.path / EXPERIMENT).write_text("x = 1\n")
    with pytest.raises(AgentError, match=r"git add failed in .*: .*index\.lock") as said:
        workspace.commit("one")
    assert "\n" not in str(said.value)


class Here:
    """As much of a campaign as recovery needs."""

    def __init__(self, workspace):
        self.workspace, self.screen, self.said = workspace, self, []

    def say(self, text):
        self.said.append(text)


@contextmanager
def git_at_work(workspace):
    """A git that waits for its input."""
    command = ["git", "hash-object", "--stdin"]
    with subprocess.Popen(command, cwd=workspace.path, stdin=subprocess.PIPE) as busy:
        while Path(f"/proc/{busy.pid}/comm").read_text() != "git\n":
            time.sleep(0.01)
        yield busy
        busy.stdin.close()


def test_locks_of_a_git_that_was_killed_are_removed_and_those_of_one_at_work_are_waited_for(workspace):
    git = workspace.path / ".git"
    (git / "index.lock").write_text("")
    (git / "refs" / "heads" / "main.lock").write_text("")
    here = Here(workspace)
    # A git that goes on for a moment after its launcher.
    with git_at_work(workspace) as busy:
        end = threading.Timer(0.5, busy.stdin.close)
        end.start()
        recover(here)
        assert end.finished.is_set()
    assert [line.split(",")[0].strip() for line in here.said] == [".git/index.lock", ".git/refs/heads/main.lock"]
    assert not list(git.rglob("*.lock"))
    (workspace.path / EXPERIMENT).write_text("x = 1\n")
    workspace.commit("works again")
    assert subjects(workspace.path)[0] == "works again"


def test_a_git_that_goes_on_keeps_its_lock(workspace, monkeypatch):
    monkeypatch.setattr("agent.campaign.recovery.PATIENCE", 0.2)
    lock = workspace.path / ".git" / "index.lock"
    lock.write_text("")
    with git_at_work(workspace), pytest.raises(AgentError, match=r"a git is at work in .* and holds index\.lock"):
        recover(Here(workspace))
    assert lock.exists()


def test_half_made_folders_go_when_their_maker_is_dead(tmp_path, workspace):
    runs = tmp_path / "runs"
    dead, living, young, old = (runs / f".new_{name}" for name in ("dead", "living", "young", "old"))
    for folder in (dead, living, young, old):
        folder.mkdir()
    (dead / ".lock").touch()
    os.utime(old, (time.time() - 2 * DAY,) * 2)
    with (living / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        made = Workspace.create(IDEA, SETTINGS, runs)
    left = {path.name for path in runs.iterdir()} - {made.path.name, workspace.path.name}
    assert left == {".new_living", ".new_young"}


def test_half_written_files_go_and_nothing_else(tmp_path):
    (tmp_path / "run_1").mkdir()
    for name in (".notes.txt.0a1b2c3d.new", "run_1/.results.json.x_y.new"):
        (tmp_path / name).write_text("half")
    kept = [".gitignore", ".env.template", "notes.new", "notes.txt"]
    for name in kept:
        (tmp_path / name).write_text("whole")
    write_atomically(tmp_path / "notes.txt", "newer")
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)


def test_temporary_folders_go_with_their_process(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    gone = subprocess.Popen(["true"])
    gone.wait()
    mine = tmp_path / f"{scratch_prefix('probe')}abc"
    theirs = tmp_path / mine.name.replace(str(os.getpid()), str(gone.pid))
    for folder in (mine, theirs):
        folder.mkdir()
    remove_scratch()
    assert list(tmp_path.iterdir()) == [mine]
    shutil.rmtree(mine)


def test_git_leaves_no_process_and_syncs_what_it_writes(workspace):
    config = (workspace.path / ".git" / "config").read_text()
    for line in ("auto = 0", "auto = false", "fsync = all"):
        assert line in config


def test_a_campaign_whose_repository_was_cloned_goes_on_where_git_knows_nobody(tmp_path, monkeypatch):
    folder = unpack(tmp_path / "campaign")
    # Git guesses no name from the machine's.
    for name, value in {"COUNT": "1", "KEY_0": "user.useConfigOnly", "VALUE_0": "true", "GLOBAL": os.devnull}.items():
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    (folder / "more.txt").write_text("more\n")
    workspace = Workspace(folder)
    before = workspace.head
    assert workspace.commit("More") != before
    assert subjects(folder)[0] == "More"
