"""The user's settings of a cluster, and the output of Slurm's commands. No cluster is needed."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.base.errors import AgentError
from agent.compute.jail.spec import Limits
from agent.compute.job import Job
from agent.compute.local import ProcessResult
from agent.compute.settings import load_settings
from agent.compute.slurm.outcome import LOST, End, classify
from agent.compute.slurm.queue import Queue, QueuedJob, Unanswered, read_accounting, read_queue, slurm
from agent.compute.slurm.settings import SlurmSettings
from agent.compute.slurm.submission import _at_home, parameters

LOG = Path("/nowhere/log.txt")


def a_job(seconds: float | None = 600, memory: int | None = 4 * 10**9, gpus: int = 1) -> Job:
    limits = Limits(seconds, memory)
    return Job(
        "run 1: training", [sys.executable], LOG.parent, {}, LOG, limits, [], [], [], gpus=gpus, memory=8 * 10**9
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("partition = ", "is not TOML"),
        ("partitions = 'gpu'", "there is no setting partitions; there are partition, account, qos"),
        ("cpus = 0", "cpus: input should be greater than or equal to 1, not 0"),
        ("time = 'soon'", "time: give minutes, or as sbatch takes it: HH:MM:SS or D-HH:MM:SS, not 'soon'"),
        ("time = 0", "time: give minutes"),
        ("partition = 'a b'", "partition: give one word, not 'a b'"),
        ("[extra]\noutput = 'x'", "extra: output is set by the program"),
        ("[extra]\nno_requeue = true", "extra: no_requeue is set by the program"),
        ('[extra]\ncomment = "two\\nlines"', "extra: comment has more than one line"),
        ("[extra]\n'Con straint' = 'x'", "extra: Con straint is not the long name of an option of sbatch"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path, text, said):
    path = tmp_path / "cluster.toml"
    path.write_text(text)
    with pytest.raises(AgentError) as caught:
        load_settings("slurm", path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(AgentError, match="cannot read"):
        load_settings("slurm", tmp_path / "absent.toml")


def test_what_is_not_given_follows_from_the_job(tmp_path):
    told = parameters(a_job(), SlurmSettings(), "name")
    assert (told["time"], told["mem"], told["gpus_per_node"]) == (16, "6676M", 1)
    assert told["additional_parameters"]["no-requeue"] is True
    # The project's own code has no limit on memory of its own: what a run may hold is the measure.
    assert parameters(a_job(memory=None, gpus=0), SlurmSettings(), "name")["mem"] == "11445M"
    assert parameters(a_job(gpus=0), SlurmSettings(gpus=2), "name")["gpus_per_node"] is None
    assert parameters(a_job(), SlurmSettings(gpus=0), "name")["gpus_per_node"] is None


def test_a_job_gets_what_it_was_given_there_and_nothing_of_the_login_node():
    job = replace(a_job(), env={"CUDA_VISIBLE_DEVICES": "7", "TMPDIR": "/scratch/me", "KEPT": "1"})
    assert _at_home(job, {}).env == {"KEPT": "1"}
    given = {"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_CPUS_PER_TASK": "3", "OTHER": "x"}
    assert _at_home(job, given).env == {"KEPT": "1", "OMP_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": "0,1"}
    chosen = replace(job, env={"OMP_NUM_THREADS": "1"})
    assert _at_home(chosen, given).env["OMP_NUM_THREADS"] == "1"
    assert _at_home(replace(job, gpus=0), given).env["CUDA_VISIBLE_DEVICES"] == ""


def test_a_job_is_another_with_another_limit_seed_or_settings():
    job = a_job()
    others = [a_job(seconds=60), *(replace(job, env={f"SAE_LAB_{name}": "1"}) for name in ("SEED", "SETTINGS"))]
    assert len({one.identity for one in (job, *others)}) == 4
    assert replace(job, env={"SAE_LAB_PROGRESS": "elsewhere"}).identity == job.identity


def test_what_is_given_counts(tmp_path):
    path = tmp_path / "cluster.toml"
    path.write_text(
        'partition = "gpu"\naccount = "lab"\nqos = "low"\ntime = "1-00:00:00"\ngpus = 2\nmemory_gb = 64\n'
        '[extra]\nconstraint = "a100|h100"\nexclusive = true\nspread-job = false\n'
    )
    told = parameters(a_job(), load_settings("slurm", path), "name")
    assert (told["partition"], told["account"], told["qos"], told["time"]) == ("gpu", "lab", "low", "1-00:00:00")
    assert (told["gpus_per_node"], told["mem"]) == (2, "61036M")
    extra = told["additional_parameters"]
    assert (extra["constraint"], extra["exclusive"], "spread-job" in extra) == ("a100|h100", True, False)
    path.write_text("gpus = 2\n[extra]\ngres = 'gpu:a100:2'\n")
    assert parameters(a_job(), load_settings("slurm", path), "name")["gpus_per_node"] is None


WORD = st.text("ABCdef_123:# ,()", max_size=20)


@settings(max_examples=50)
@given(st.dictionaries(st.integers(1, 10**7).map(str), st.tuples(st.integers(0, 10**6), WORD, WORD | st.just("a|b"))))
def test_squeue_is_read_as_it_was_written(jobs):
    def clock(seconds: int) -> str:
        days, rest = divmod(seconds, 86_400)
        hours = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
        return f"{days}-{hours}" if days else hours

    lines = [f"{job}|RUNNING|{clock(ran)}|{reason}|{name}\n" for job, (ran, reason, name) in jobs.items()]
    assert read_queue("".join(lines)) == {job: QueuedJob("RUNNING", *fields) for job, fields in jobs.items()}


@settings(max_examples=50)
@given(st.text())
def test_nothing_that_slurm_may_print_is_too_much(text):
    assert all(isinstance(row, QueuedJob) for read in (read_queue, read_accounting) for row in read(text).values())


def test_the_accounts_are_read_in_slurms_own_words():
    told = "7|CANCELLED by 1000|12\n8|RUNNING|5\n9|OUT_OF_MEMORY|61\n"
    # What runs for the accounts only, and is in no queue, runs no more.
    assert read_accounting(told) == {"7": QueuedJob("CANCELLED", 12), "9": QueuedJob("OUT_OF_MEMORY", 61)}


WELL, BADLY = ProcessResult(0, 1.0, LOG), ProcessResult(1, 1.0, LOG)
OVER, SHOT = ProcessResult(-9, 1.0, LOG, "memory", 5e9), ProcessResult(-15, 1.0, LOG)


@pytest.mark.parametrize(
    ("state", "told", "printed", "meant"),
    [
        ("COMPLETED", WELL, "", "result"),
        ("NODE_FAIL", WELL, "", "result"),
        ("TIMEOUT", ProcessResult(-9, 1.0, LOG, "time"), "", "result"),
        ("COMPLETED", BADLY, "", "result"),
        ("OUT_OF_MEMORY", OVER, "", "result"),
        ("OUT_OF_MEMORY", SHOT, "", "memory"),
        ("OUT_OF_MEMORY", None, "", "memory"),
        ("FAILED", None, "slurmstepd: error: Exceeded job memory limit", "memory"),
        ("FAILED", None, "slurmstepd: error: Detected 1 oom-kill event(s)", "memory"),
        *((state, None, "", "again") for state in ("PREEMPTED", "TIMEOUT", "NODE_FAIL", "BOOT_FAIL", LOST)),
        # Signals reach a run before the job that it belongs to.
        ("PREEMPTED", SHOT, "", "again"),
        ("CANCELLED", SHOT, "", "cancelled"),
        ("CANCELLED", None, "", "cancelled"),
        (LOST, ProcessResult(1, 1.0, LOG, "launcher"), "", "again"),
        ("COMPLETED", AgentError("no sandbox works here"), "", "error"),
        ("FAILED", "Traceback ...", "", "error"),
        ("FAILED", None, "slurmstepd: error: execve(): No such file or directory", "error"),
    ],
)
def test_the_cluster_s_reasons_are_told_from_the_run_s(state, told, printed, meant):
    assert classify(End(state, 1, told), printed) == meant


def test_slurm_that_is_not_there_is_a_trouble_not_an_empty_queue(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    queue = Queue(0.1)
    queue.refresh()
    assert queue.trouble == "squeue: No such file or directory"
    assert queue.as_of == float("-inf")
    with pytest.raises(Unanswered):
        queue.rows(0)
    with pytest.raises(Unanswered):
        slurm("sbatch")
