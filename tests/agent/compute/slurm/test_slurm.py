"""Jobs on a real Slurm of one node. Skipped where Slurm is not installed, or for another than root."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from agent.base.errors import AgentError
from agent.base.screen import Screen
from agent.campaign.campaign import Campaign
from agent.campaign.events import SettingsChanged, Submitted
from agent.campaign.history import read_state
from agent.campaign.settings import Settings
from agent.campaign.workspace import Workspace
from agent.cli.begin import take_up
from agent.cli.options import make_parser
from agent.compute.jail.spec import Limits
from agent.compute.job import Job
from agent.compute.local import ProcessResult
from agent.compute.slurm.executor import Cluster, Slurm, _jobs, _mark, shared_cluster
from agent.compute.slurm.settings import SlurmSettings
from agent.compute.slurm.submission import submit
from agent.idea import load_idea
from agent.steps.jobs import Host
from tests.agent.campaigns import IDEA, ROOT, TINY
from tests.agent.compute.slurm import cluster as node
from tests.agent.compute.slurm.cluster import processes, read, wait_until

POLL = 0.3
QUICK = {"poll_seconds": POLL, "grace_seconds": 1, "cpus": 1, "memory_gb": 0.5}
LABEL = "run 1: training"
SLEEPS = "import time; print('began', flush=True); time.sleep({})"
HELD = """
import os, time
print("began", flush=True)
while open({!r}).read() != "go on":
    time.sleep(0.1)
"""
GO_ON = "go on"


def a_campaign(folder: Path, **slurm) -> Campaign:
    settings = Settings(profile=str(TINY), executor="slurm", slurm=SlurmSettings(**{**QUICK, **slurm}))
    folder.mkdir(exist_ok=True)
    return opened(Workspace.create(load_idea(IDEA, ROOT / "ideas"), settings, folder).path)


def opened(path: Path) -> Campaign:
    """As a launcher that was started anew sees it."""
    workspace = Workspace(path)
    asked = read_state(workspace.ledger.events).settings.executor_settings["slurm"]
    return Campaign(workspace, Screen(), ROOT, Slurm(asked, Cluster(POLL)))


def given_anew(campaign: Campaign, **slurm) -> None:
    """As `--resume` with another file for --slurm."""
    settings = {**campaign.settings.model_dump(mode="json"), "slurm": {**QUICK, **slurm}}
    campaign.record(SettingsChanged(settings=Settings.model_validate(settings)))


def held(campaign: Campaign, flag: Path, before: str = "", gpus: int = 0) -> Job:
    """A job that ends when a file says `GO_ON`, so that no test depends on how fast a machine is."""
    flag.write_text("wait")
    return a_job(campaign, before + HELD.format(str(flag)), seconds=600, readable=(flag,), gpus=gpus)


def a_job(campaign: Campaign, code: str, seconds: float = 120, readable: tuple[Path, ...] = (), gpus: int = 0) -> Job:
    folder = campaign.workspace.path / "run_1"
    return Job(
        LABEL,
        [sys.executable, "-c", code],
        folder,
        {"PATH": os.defpath, "MARK": campaign.workspace.path.parent.name},
        folder / "log.txt",
        Limits(seconds, memory=2 * 10**9),
        readable=list(readable),
        writable=[folder],
        empty=[folder],
        gpus=gpus,
    )


def run(campaign: Campaign, job: Job, tick=lambda: None) -> ProcessResult:
    return campaign.executor.run(job, Host(campaign), tick)


def kinds(campaign: Campaign) -> list[str]:
    return [event.kind for event in campaign.workspace.ledger.events]


def submitted(path: Path, count: int = 1) -> str:
    """The number of a campaign's newest job, once so many were submitted."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        lines = (path / "ledger.jsonl").read_text().splitlines()
        jobs = [one["data"]["job"] for one in map(json.loads, lines) if one["kind"] == "submitted"]
        if len(jobs) >= count:
            return str(jobs[-1])
        time.sleep(0.1)
    raise TimeoutError("no job was submitted")


def stop_once(log: Path) -> None:
    """The user's part once a run has begun."""
    if log.is_file():
        raise KeyboardInterrupt


def stop_once_submitted(campaign: Campaign) -> None:
    if "submitted" in kinds(campaign):
        raise KeyboardInterrupt


def in_thread(function) -> tuple[threading.Thread, list]:
    outcome: list = []

    def go() -> None:
        try:
            outcome.append(function())
        except AgentError as error:
            outcome.append(error)

    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    return thread, outcome


def outcome_of(thread: threading.Thread, outcome: list, seconds: float = 120) -> ProcessResult | AgentError:
    """The outcome of `in_thread`; patient, since a machine may have other work."""
    thread.join(seconds)
    assert not thread.is_alive(), "it goes on"
    assert outcome, "it raised; the trace is among the warnings"
    return outcome[0]


@pytest.fixture(scope="module")
def over_time(
    cluster: node.Cluster, tmp_path_factory: pytest.TempPathFactory
) -> tuple[threading.Thread, list, Campaign]:
    """A job that the cluster ends at its limit, and again; slow, so it goes on beside the other tests.

    Slurm knows only whole minutes, and looks every half; the end of the job is moved to now.
    """
    campaign = a_campaign(tmp_path_factory.mktemp("overtime"), time=1, again=1)
    # Fails where the folder still holds what the first job left.
    code = "import os, time; assert not os.path.exists('left'); open('left', 'w').close(); time.sleep(600)"

    def go() -> ProcessResult:
        for count in (1, 2):
            threading.Thread(target=shorten, args=(count,), daemon=True).start()
        return run(campaign, a_job(campaign, code))

    def shorten(count: int) -> None:
        number = submitted(campaign.workspace.path, count)
        wait_until(lambda: cluster.call("squeue", "-h", "-j", number, "-o", "%T") == "RUNNING")
        cluster.call("scontrol", "update", f"jobid={number}", "EndTime=now+2")

    return (*in_thread(go), campaign)


@pytest.mark.usefixtures("over_time")
def test_a_job_is_carried_out_without_the_launchers_secrets(cluster, tmp_path, monkeypatch, capsys):
    secret = "sk-planted-0123456789abcdef"
    monkeypatch.setenv("OPENAI_API_KEY", secret)
    monkeypatch.setenv("INNOCENT_NAME", secret)
    monkeypatch.setenv("TMPDIR", "/planted")
    campaign = a_campaign(tmp_path)
    shows = "import os; print(sorted(os.environ)); print(os.environ['CUDA_VISIBLE_DEVICES'])"
    job = held(campaign, flag := tmp_path / "flag", shows, gpus=1)
    thread, outcome = in_thread(lambda: run(campaign, job))
    number = submitted(campaign.workspace.path)
    wait_until(lambda: job.log.is_file() and "began" in job.log.read_text())
    environments = [read(one / "environ") for one in cluster.of_job(number)]
    flag.write_text(GO_ON)
    assert any(f"SLURM_JOB_ID={number}" in one for one in environments)
    assert not any(secret in one for one in environments)
    assert outcome_of(thread, outcome).ok
    assert not any("TMPDIR=/planted" in one for one in environments)
    names, visible = job.log.read_text().splitlines()[:2]
    assert "MARK" in names
    assert "SLURM" not in names
    assert visible == "0"
    written = [path for place in (cluster.folder, campaign.workspace.path) for path in place.rglob("*")]
    assert not [path for path in written if path.is_file() and secret.encode() in path.read_bytes()]
    assert not subprocess.check_output(["git", "-C", campaign.workspace.path, "status", "--porcelain", "jobs"])
    assert f"job {number} is submitted (run 1: training)" in capsys.readouterr().out
    told = cluster.call("scontrol", "show", "job", number)
    assert f"JobName={IDEA}: run 1: training #" in told
    assert "Requeue=0" in told


def test_the_runs_own_limit_is_told_from_the_clusters(cluster, tmp_path):
    campaign = a_campaign(tmp_path)
    result = run(campaign, a_job(campaign, SLEEPS.format(60), seconds=2))
    assert result.timed_out
    assert result.reason(2) == "stopped at the time limit of 2 s"
    assert kinds(campaign).count("submitted") == 1


def test_a_run_that_wants_more_memory_than_its_job_may_hold_has_failed(cluster, tmp_path):
    campaign = a_campaign(tmp_path, memory_gb=0.4)
    code = "import time; print('began', flush=True); held = bytearray(10**9); time.sleep(100)"
    job = a_job(campaign, code)
    result = run(campaign, job)
    assert not result.ok
    assert re.fullmatch(r"killed after \d+ s: its job on the cluster may hold 401 MB of memory", result.reason(120))
    assert "began" in job.log.read_text()
    wait_until(lambda: not processes(f"MARK={tmp_path.name}"))


def test_a_cancelled_job_stops_its_campaign_and_is_submitted_again_on_resume(cluster, tmp_path):
    campaign = a_campaign(tmp_path)
    job = held(campaign, flag := tmp_path / "flag")
    thread, outcome = in_thread(lambda: run(campaign, job))
    number = submitted(campaign.workspace.path)
    wait_until(job.log.is_file)
    cluster.call("scancel", number)
    assert (
        str(outcome_of(thread, outcome))
        == f"job {number} (run 1: training) was cancelled; it is submitted again once the campaign goes on"
    )
    wait_until(lambda: not processes(f"MARK={tmp_path.name}"))
    flag.write_text(GO_ON)
    again = opened(campaign.workspace.path)
    assert run(again, job).ok
    assert kinds(again)[-3:] == ["submitted", "requeued", "submitted"]


def test_a_pre_empted_job_is_queued_again(cluster, tmp_path, capsys):
    campaign = a_campaign(tmp_path, partition="spare", memory_gb=20)
    job = held(campaign, flag := tmp_path / "flag")
    thread, outcome = in_thread(lambda: run(campaign, job))
    wait_until(lambda: job.log.is_file() and "began" in job.log.read_text())
    command = ["sbatch", "--partition=main", "--mem=50000", f"--output={os.devnull}"]
    subprocess.run(command, input="#!/bin/sh\nsleep 2\n", text=True, check=True, capture_output=True)
    submitted(campaign.workspace.path, 2)
    flag.write_text(GO_ON)
    assert outcome_of(thread, outcome).ok
    event = next(event for event in campaign.workspace.ledger.events if event.kind == "requeued")
    assert (event.state, event.count) == ("PREEMPTED", 1)
    assert "was pre-empted; it is queued again" in capsys.readouterr().out
    assert job.log.read_text().count("began") == 1


def test_a_job_outlives_the_daemon_of_its_node(cluster, tmp_path):
    campaign = a_campaign(tmp_path)
    job = held(campaign, flag := tmp_path / "flag")
    thread, outcome = in_thread(lambda: run(campaign, job))
    wait_until(job.log.is_file)
    cluster.end("slurmd", signal.SIGKILL)
    time.sleep(1)
    cluster.start_node()
    flag.write_text(GO_ON)
    assert outcome_of(thread, outcome).ok
    assert kinds(campaign).count("submitted") == 1


def test_jobs_are_submitted_and_waited_for_while_the_controller_is_away(cluster, tmp_path, monkeypatch):
    campaign = a_campaign(tmp_path)
    said: list[str] = []
    monkeypatch.setattr(campaign.screen, "say", said.append)
    cluster.end("slurmctld", signal.SIGTERM)
    job = held(campaign, flag := tmp_path / "flag")
    asked = campaign.settings.executor_settings["slurm"]
    # It tries again after 6, 12 and 24 s: the controller has as long to come back.
    thread, outcome = in_thread(lambda: Slurm(asked, Cluster(3)).run(job, Host(campaign), lambda: None))
    wait_until(lambda: any("trying again" in line for line in said))
    assert not (campaign.workspace.path / "run_1").exists()
    cluster.start_controller()
    wait_until(job.log.is_file)
    cluster.end("slurmctld", signal.SIGTERM)
    wait_until(lambda: any("does not answer" in line and "waiting for job" in line for line in said))
    flag.write_text(GO_ON)
    time.sleep(1)
    cluster.start_controller()
    assert outcome_of(thread, outcome).ok
    assert kinds(campaign).count("submitted") == 1


@pytest.mark.parametrize("ended", [False, True], ids=["running", "ended"])
def test_a_killed_launcher_finds_its_job_again_by_its_number(cluster, tmp_path, ended, capsys):
    campaign = a_campaign(tmp_path)
    job = a_job(campaign, SLEEPS.format(1 if ended else 3))
    launcher = (
        "import sys; from tests.agent.compute.slurm.test_slurm import *; "
        "campaign = opened(Path(sys.argv[1])); run(campaign, a_job(campaign, sys.argv[2]))"
    )
    command = [sys.executable, "-c", launcher, str(campaign.workspace.path), job.command[-1]]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    number = submitted(campaign.workspace.path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if ended:
        wait_until(lambda: cluster.call("squeue", "-h", "-j", number, "--states=all", "-o", "%T") == "COMPLETED")
    again = opened(campaign.workspace.path)
    assert run(again, job).ok
    assert kinds(again).count("submitted") == 1
    assert job.log.read_text().count("began") == 1
    assert f"job {number} is found again" in capsys.readouterr().out


def test_new_settings_reach_a_job_that_has_not_begun_and_leave_one_that_has(cluster, tmp_path, capsys):
    campaign = a_campaign(tmp_path, extra={"begin": "now+3600"})
    job = a_job(campaign, SLEEPS.format(3))
    with pytest.raises(KeyboardInterrupt):
        run(campaign, job, lambda: stop_once_submitted(campaign))
    waiting = submitted(campaign.workspace.path)
    given_anew(campaign, extra={})
    with pytest.raises(KeyboardInterrupt):
        run(second := opened(campaign.workspace.path), job, lambda: stop_once(job.log))
    assert cluster.call("squeue", "-h", "-j", waiting, "--states=all", "-o", "%T") == "CANCELLED"
    assert f"job {waiting} (run 1: training) has not begun" in capsys.readouterr().out
    begun = submitted(campaign.workspace.path, 2)
    given_anew(second, memory_gb=1)
    again = opened(campaign.workspace.path)
    assert run(again, job).ok
    assert f"job {begun} is found again" in capsys.readouterr().out
    assert kinds(again).count("submitted") == 2


def test_a_job_that_was_not_recorded_or_is_stale_is_cancelled_before_another_is_submitted(cluster, tmp_path):
    campaign = a_campaign(tmp_path)
    stale = a_job(campaign, SLEEPS.format(100))
    folder = (jobs := _jobs(Host(campaign))) / "unrecorded"
    folder.mkdir(parents=True)
    # The launcher was killed between sbatch and the line in the ledger.
    submission = submit(stale, SlurmSettings(**QUICK), f"{IDEA}: {LABEL} {_mark(jobs)}", folder)
    assert run(campaign, a_job(campaign, "print('ends')")).ok
    state = cluster.call("squeue", "-h", "-j", submission.number, "--states=all", "-o", "%T")
    assert state == "CANCELLED"
    assert kinds(campaign).count("submitted") == 1


def test_the_job_of_a_workspace_that_was_moved_is_cancelled(cluster, tmp_path):
    campaign = a_campaign(tmp_path)
    job = a_job(campaign, SLEEPS.format(100))
    with pytest.raises(KeyboardInterrupt):
        run(campaign, job, lambda: stop_once(job.log))
    number = submitted(campaign.workspace.path)
    moved = opened(campaign.workspace.path.rename(tmp_path / "moved"))
    assert run(moved, a_job(moved, "print('ends')")).ok
    assert cluster.call("squeue", "-h", "-j", number, "--states=all", "-o", "%T") == "CANCELLED"


def test_a_job_that_slurm_does_not_know_is_submitted_again(cluster, tmp_path, capsys):
    campaign = a_campaign(tmp_path)
    job = a_job(campaign, "print('ends')")
    lost = str(_jobs(Host(campaign)) / "lost")
    campaign.record(Submitted(label=LABEL, job="999999", folder=lost, order=job.identity))
    assert run(campaign, job).ok
    assert "job 999999 (run 1: training) vanished without a result; it is queued again" in capsys.readouterr().out


def test_a_stopped_launcher_leaves_its_job_and_a_forgotten_one_is_cancelled(cluster, tmp_path, capsys):
    campaign = a_campaign(tmp_path)
    job = a_job(campaign, SLEEPS.format(100))
    with pytest.raises(KeyboardInterrupt):
        run(campaign, job, lambda: stop_once(job.log))
    number = submitted(campaign.workspace.path)
    assert f"job {number} (run 1: training) goes on" in capsys.readouterr().out
    assert cluster.call("squeue", "-h", "-j", number, "-o", "%T") == "RUNNING"
    # Whoever goes on without the cluster wants nothing more from it.
    arguments = make_parser().parse_args(["--resume", str(campaign.workspace.path), "--executor", "local"])
    take_up(opened(campaign.workspace.path), arguments)
    assert cluster.call("squeue", "-h", "-j", number, "--states=all", "-o", "%T") == "CANCELLED"


def test_what_slurm_refuses_is_said_in_a_line(cluster, tmp_path):
    campaign = a_campaign(tmp_path, partition="nowhere")
    with pytest.raises(AgentError, match=r"^Slurm does not take the job \(run 1: training\): .*partition") as caught:
        run(campaign, a_job(campaign, "pass"))
    assert str(caught.value).count("rror") == 0
    campaign = a_campaign(tmp_path / "gpus", gpus=9)
    with pytest.raises(AgentError, match=r"for a cluster without GPUs: gpus = 0"):
        run(campaign, a_job(campaign, "pass", gpus=1))
    assert "submitted" not in kinds(campaign)


def test_an_error_on_the_node_is_the_campaigns(cluster, tmp_path):
    campaign = a_campaign(tmp_path)
    job = a_job(campaign, "pass")
    absent = replace(job, command=["/no/such/program"])
    with pytest.raises(AgentError, match=r"^/no/such/program cannot be started"):
        run(campaign, absent)
    # Not an error of the project's own kind: the folder to be emptied can't be made.
    (campaign.workspace.path / "file").write_text("")
    place = campaign.workspace.path / "file" / "run_1"
    broken = replace(job, empty=[place], label="run 2: training")
    with pytest.raises(AgentError, match=r"failed on the cluster: NotADirectoryError.*its output is in .*_0_log.out"):
        run(campaign, broken)


def test_twenty_jobs_cost_no_more_questions_than_one(cluster, tmp_path):
    campaigns = [a_campaign(tmp_path / str(number), memory_gb=0.2) for number in range(20)]
    slurm = Slurm(SlurmSettings(**{**QUICK, "memory_gb": 0.2}), Cluster(1))
    began = time.monotonic()
    jobs = [(a_job(campaign, f"print({number})"), Host(campaign)) for number, campaign in enumerate(campaigns)]
    started = [in_thread(lambda pair=pair: slurm.run(*pair, lambda: None)) for pair in jobs]
    ended = [outcome_of(*one) for one in started]
    took = time.monotonic() - began
    assert [result.ok for result in ended] == [True] * 20
    assert [job.log.read_text() for job, _ in jobs] == [f"{number}\n" for number in range(20)]
    assert slurm.cluster.queue.calls <= took + 2


@pytest.mark.usefixtures("cluster")
def test_the_sandbox_holds_on_the_node(tmp_path):
    campaign = a_campaign(tmp_path)
    given, secret = tmp_path / "given", tmp_path / "secret"
    for path in (given, secret):
        path.write_text(path.name)
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = f"""
import socket
for attempt in (
    lambda: open({str(given)!r}).read(),
    lambda: open({str(secret)!r}).read(),
    lambda: socket.create_connection(("127.0.0.1", {server.getsockname()[1]}), timeout=5),
):
    try:
        print("could", attempt())
    except OSError:
        print("could not")
"""
        job = a_job(campaign, code, readable=(given,))
        result = run(campaign, job)
        assert result.ok
        assert job.log.read_text().splitlines() == ["could given", "could not", "could not"]
        assert result.way in ("bubblewrap", "landlock")
        # Without a sandbox the same job can.
        open_to_all = replace(job, sandboxed=False, label="run 2: training")
        assert (result := run(campaign, open_to_all)).ok
        assert result.way == "none"
        assert "could not" not in job.log.read_text()


@pytest.mark.usefixtures("cluster")
def test_the_set_ups_of_a_launcher_follow_each_other(tmp_path):
    slurm, marks = Slurm(SlurmSettings(**QUICK), Cluster(POLL)), tmp_path / "marks"
    marks.mkdir()
    code = f"""
import os, time
print(os.listdir({str(marks)!r}))
path = os.path.join({str(marks)!r}, str(os.getpid()))
open(path, "w").close()
time.sleep(1)
os.unlink(path)
"""
    campaigns = [a_campaign(tmp_path / str(number)) for number in range(2)]
    jobs = [replace(a_job(campaign, code), open=True, makes="the set-up") for campaign in campaigns]
    started = [
        in_thread(lambda pair=pair: slurm.run(*pair, lambda: None))
        for pair in zip(jobs, map(Host, campaigns), strict=True)
    ]
    assert all(outcome_of(*one).ok for one in started)
    assert [job.log.read_text() for job in jobs] == ["[]\n", "[]\n"]


@pytest.mark.usefixtures("cluster")
def test_a_job_without_gpus_is_shown_none(tmp_path):
    campaign = a_campaign(tmp_path, gpus=0)
    job = a_job(campaign, "import os; print(repr(os.environ['CUDA_VISIBLE_DEVICES']))", gpus=1)
    assert run(campaign, job).ok
    assert job.log.read_text() == "''\n"


@pytest.mark.usefixtures("cluster")
def test_all_campaigns_of_a_launcher_share_one_queue_that_asks_as_often_as_any_wants():
    made: list[Cluster] = []
    threads = [threading.Thread(target=lambda at=at: made.append(shared_cluster(2 + at))) for at in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(made) == 50
    assert len(set(map(id, made))) == 1
    assert made[0].queue.every <= 2


def test_what_the_cluster_ends_at_its_time_limit_is_queued_again_within_a_limit(over_time):
    thread, outcome, campaign = over_time
    stopped = outcome_of(thread, outcome, 300)
    number = submitted(campaign.workspace.path, 2)
    assert str(stopped) == (
        f"job {number} (run 1: training) reached its time limit on the cluster (1 min), the last of 2 jobs: "
        "give a longer `time` with --slurm, or a run a shorter --time-limit"
    )
    events = [event for event in campaign.workspace.ledger.events if event.kind == "requeued"]
    assert [(event.state, event.count) for event in events] == [("TIMEOUT", 1)]
    wait_until(lambda: not processes(f"MARK={campaign.workspace.path.parent.name}"))


def test_a_job_that_lost_its_node_is_queued_again(cluster, over_time, tmp_path):
    outcome_of(*over_time[:2], 300)  # its job is on the same node
    campaign = a_campaign(tmp_path)
    job = held(campaign, flag := tmp_path / "flag")
    thread, outcome = in_thread(lambda: run(campaign, job))
    number = submitted(campaign.workspace.path)
    wait_until(lambda: job.log.is_file() and "began" in job.log.read_text())
    cluster.end("slurmd", signal.SIGKILL)
    started = cluster.of_job(number)
    assert any("slurmstepd" in read(one / "cmdline") for one in started)
    for entry in started + processes(f"MARK={tmp_path.name}"):
        with suppress(ProcessLookupError):
            os.kill(int(entry.name), signal.SIGKILL)
    wait_until(lambda: cluster.call("sinfo", "-h", "-o", "%t").startswith("down"))
    cluster.start_node()
    submitted(campaign.workspace.path, 2)
    flag.write_text(GO_ON)
    assert outcome_of(thread, outcome).ok
    events = [event for event in campaign.workspace.ledger.events if event.kind == "requeued"]
    assert [(event.state, event.count) for event in events] == [("NODE_FAIL", 1)]
    assert job.log.read_text() == "began\n"
