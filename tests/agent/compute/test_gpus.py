"""GPUs are handed out one a run: among threads, among launchers, and given back after a kill."""

import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from agent.base.errors import AgentError
from agent.compute.gpus import Gpus
from agent.compute.jail.spec import Limits
from agent.compute.job import Job
from agent.compute.local_executor import Local
from tests.agent.campaigns import ROOT

HOLDER = (
    "import pathlib, sys, time; from agent.compute.gpus import Gpus\n"
    "with Gpus(['0', '1'], pathlib.Path(sys.argv[1])).lease(1, lambda: None) as name:\n"
    "    print(name, flush=True); time.sleep(60)"
)


def nothing():
    pass


def test_what_cuda_is_told_is_what_is_handed_out(tmp_path):
    found = Gpus.of_this_machine({"CUDA_VISIBLE_DEVICES": "3, GPU-5a,-1,7"}, tmp_path)
    assert found.names == ("3", "GPU-5a")
    assert Gpus.of_this_machine({"CUDA_VISIBLE_DEVICES": ""}, tmp_path).names == ()
    for name in ("nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert Gpus.of_this_machine({}, tmp_path).names == ("2", "10")


def test_no_two_runs_have_a_gpu_at_a_time(tmp_path):
    gpus, used, most = Gpus(["0", "1", "2"], tmp_path), [], []
    guard = threading.Lock()

    def hold(count):
        with gpus.lease(count, nothing) as names:
            with guard:
                used.extend(names.split(","))
                assert len(set(used)) == len(used)
                most.append(len(used))
            time.sleep(0.05)
            with guard:
                for name in names.split(","):
                    used.remove(name)

    threads = [threading.Thread(target=hold, args=(1 + number % 3,)) for number in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 9
    assert max(most) == 3


def test_another_launcher_is_waited_for_and_a_killed_one_gives_back(tmp_path):
    holders = [
        subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert {holder.stdout.readline().strip() for holder in holders} == {"0", "1"}
    waited = []

    def tick():
        waited.append(1)
        if len(waited) == 2:
            holders[0].send_signal(signal.SIGKILL)

    with Gpus(["0", "1"], tmp_path).lease(1, tick) as name:
        assert name in ("0", "1")
    assert len(waited) >= 2
    for holder in holders:
        holder.kill()
        holder.communicate()


def test_a_run_sees_its_own_gpus_only(tmp_path):
    code = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"
    place = tmp_path / "run_1"
    limits = Limits(30, memory=10**9, processes=20, disk=10**8, files=100, output=10**6)
    command = [sys.executable, "-I", "-S", "-c", code]
    job = Job("x", command, tmp_path, {"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, place / "log", limits, [], [place], [place])
    executor = Local(Gpus(["2", "3"], tmp_path / "locks"))
    (tmp_path / "run_1").mkdir()
    (tmp_path / "run_1" / "left").touch()
    for count, seen in ((1, "2\n"), (2, "2,3\n")):
        result = executor.run(replace(job, gpus=count), None, nothing)
        assert result.ok, (place / "log").read_text()
        assert (place / "log").read_text() == seen
    assert [path.name for path in place.iterdir()] == ["log"]


def test_who_waits_can_stop(tmp_path):
    def stop():
        raise KeyboardInterrupt

    gpus = Gpus(["0"], tmp_path)
    with gpus.lease(1, nothing), pytest.raises(KeyboardInterrupt), gpus.lease(1, stop):
        pass
    with gpus.lease(1, stop) as name:
        assert name == "0"


def test_more_than_there_are_is_one_line(tmp_path):
    with pytest.raises(AgentError, match="a run wants 2 GPUs and there are 1"), Gpus(["0"], tmp_path).lease(2, nothing):
        pass


def test_a_machine_without_gpus_hands_out_none(tmp_path):
    with Gpus([], tmp_path).lease(4, nothing) as names:
        assert names is None
    job = Job("x", [], tmp_path, {"A": "b"}, tmp_path / "log", Limits(), [], [], [])
    assert job.on(None) is job
    assert job.on("1,2").env == {"A": "b", "CUDA_VISIBLE_DEVICES": "1,2"}
    assert list(tmp_path.iterdir()) == []
