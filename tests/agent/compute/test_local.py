"""Commands are run to their end or their limit; their output is kept; nothing of them stays."""

import os
import sys
import time
from pathlib import Path

import pytest

from agent.compute.local import run, tail


def go(tmp_path, code, seconds=20.0, **kwargs):
    command = [sys.executable, "-u", "-c", code]
    return run(command, cwd=tmp_path, env={"PATH": os.environ["PATH"]}, log=tmp_path / "log", seconds=seconds, **kwargs)


def alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_both_streams_are_kept_in_order(tmp_path):
    result = go(tmp_path, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert (result.code, result.ok) == (3, False)
    assert (tmp_path / "log").read_text() == "out\nerr\n"
    assert result.reason(20).startswith("exit code 3 after ")


def test_the_limit_ends_the_whole_group_and_keeps_the_output(tmp_path):
    code = (
        "import subprocess, sys, time, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid); time.sleep(60)"
    )
    result = go(tmp_path, code, seconds=1.0)
    assert result.timed_out
    assert "time limit of 1 s" in result.reason(1.0)
    child = int((tmp_path / "log").read_text())
    assert not alive(child)


def test_a_child_left_running_is_ended(tmp_path):
    go(tmp_path, "import subprocess, sys; print(subprocess.Popen(['sleep', '60']).pid)")
    child = int((tmp_path / "log").read_text())
    deadline = time.monotonic() + 60
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(child)


def test_a_killed_run_says_so(tmp_path):
    result = go(tmp_path, "import os; os.kill(os.getpid(), 9)")
    assert "SIGKILL" in result.reason(20)


def test_interrupting_ends_the_command(tmp_path):
    def tick():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, "import os, time; print(os.getpid()); time.sleep(60)", tick=tick)
    text = (tmp_path / "log").read_text()
    assert not text or not alive(int(text))


def test_the_tail_keeps_the_traceback_and_its_message(tmp_path):
    log = tmp_path / "log"
    frames = "\n".join(f'  File "x.py", line {n}\n    call()' for n in range(200))
    log.write_text("noise\n" * 5000 + f"Traceback (most recent call last):\n{frames}\nValueError: the reason")
    text = tail(log, 1500)
    assert len(text) <= 1500
    assert text.endswith("ValueError: the reason")
    assert "noise" not in text


def test_the_tail_of_one_huge_line_is_bounded(tmp_path):
    log = tmp_path / "log"
    log.write_text("x" * 100_000)
    assert len(tail(log, 1500)) <= 1500
