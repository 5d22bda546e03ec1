"""A guarded command line: its children inherit no key, others see none in it, and its output shows none."""

import json
import os
import subprocess
import sys
import tomllib

import pytest

from agent.compute.jail.spec import Limits
from agent.compute.job import Job, carry_out
from tests.agent.campaigns import ROOT

KEY = "the-marked-value/of+a key"
# Written so that the program's own text has no key in it.
PROGRAM = """
import json, logging, os, resource, subprocess, sys, threading, warnings
from pathlib import Path
from agent.base.guard import guarded
from agent.base.keys import environment

def main():
    key = environment()["SOME_API_KEY"]
    {body}
    return 3

sys.exit(guarded(main))
"""


def run(body, folder, **environ):
    env = {"PATH": os.environ["PATH"], "SOME_API_KEY": KEY, **environ}
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})" + PROGRAM.format(body=body)]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.parametrize(
    "body",
    [
        "print(key, [key], json.dumps([key]))",
        "sys.stdout.writelines([key])",
        "logging.getLogger('x').warning('with %s', key)",
        "logging.basicConfig(level=10); logging.getLogger('x').debug('with %r', {'a': key})",
        "warnings.warn(key)",
        "raise ValueError(key)",
        "thread = threading.Thread(target=int, args=(key,)); thread.start(); thread.join()",
        "sys.exit(key)",
    ],
)
def test_what_is_shown_has_no_key(body, tmp_path):
    done = run(body, tmp_path)
    assert "[key removed]" in done.stdout + done.stderr
    assert "marked" not in done.stdout + done.stderr


def test_children_and_others_see_no_key(tmp_path):
    body = """
    print(subprocess.run(["env"], capture_output=True, text=True).stdout)
    print(Path("/proc/self/environ").read_text().replace("\\0", "\\n"))
    print(resource.getrlimit(resource.RLIMIT_CORE)[0], len(key))
    """
    more = {
        "DB_PASS": "short",
        "HTTPS_PROXY": "http://user:secret@proxy:1",
        "LC_NOTE": f"with {KEY}",
        "CREDENTIALS_FILE": "/a/file",
        "AWS_SECRET_ACCESS_KEY": "/base64/AAAAAAAABBBBBBBBCCCC==",
        "MAX_TOKENS": "100",
    }
    done = run(body, tmp_path, **more)
    assert done.returncode == 3, done.stderr
    env, own, rest = done.stdout.partition("PATH=")[0], *done.stdout.rpartition("PATH=")[::2]
    assert rest.split()[-2:] == ["0", str(len(KEY))]
    for secret in ("marked", "short", "secret", "base64"):
        assert secret not in env + own + rest
    assert done.stdout.count("CREDENTIALS_FILE=/a/file") == 2
    assert done.stdout.count("MAX_TOKENS=100") == 2
    assert done.stdout.count("SOME_API_KEY=*") == 1


def test_a_key_of_the_env_file_is_not_shown_either(tmp_path):
    (tmp_path / ".env").write_text("OTHER_TOKEN=the-marked-other-value\n")
    done = run("print('the-mar' + 'ked-other-value')", tmp_path)
    assert (done.returncode, done.stdout) == (3, "[key removed]\n")


def test_an_unreadable_env_file_stops_only_who_needs_it(tmp_path):
    (tmp_path / ".env").write_bytes(b"A=\xff\xfe\n")
    command = [sys.executable, "-m", "agent.launch"]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    given = {"cwd": tmp_path, "env": env, "capture_output": True, "text": True, "timeout": 600, "check": False}
    assert subprocess.run([*command, "--list"], **given).returncode == 0
    asked = subprocess.run([*command, "--idea", "hierarchical_orthogonal_sae", "--runs", str(tmp_path)], **given)
    assert asked.returncode == 2
    assert asked.stderr.startswith("error: cannot read ")
    assert asked.stderr.count("\n") == 1


def test_a_closed_output_is_no_trouble(tmp_path):
    command = f"{sys.executable} -m agent.idea list >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], cwd=ROOT, check=False, timeout=600).returncode in (0, 1)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--budget-usd", KEY],
        ["--model", f"openai:{KEY}", "--idea", "hierarchical_orthogonal_sae"],
        ["--model", f"openai:x@http://user:{KEY}@host/v1", "--idea", "hierarchical_orthogonal_sae"],
        ["--idea", KEY],
        ["--resume", f"/tmp/{KEY}"],
    ],
)
def test_a_key_on_the_command_line_is_not_repeated(arguments, tmp_path):
    env = {"PATH": os.environ["PATH"], "SOME_API_KEY": KEY, "OPENAI_API_KEY": "sk-0123456789abcdefghi"}
    command = [sys.executable, "-m", "agent.launch", *arguments, "--runs", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 2
    assert "marked" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_hubs_token_reaches_the_set_up_and_nothing_else_of_it(tmp_path, monkeypatch):
    """The hub's own library finds it, again and again, but neither the environment nor the log has it."""
    token = "hf_marked0123456789abcdefgh"
    monkeypatch.setenv("HF_TOKEN", token)
    program = """
import json, os, sys
from pathlib import Path
from huggingface_hub import get_token
print(json.dumps([len(get_token()), get_token()[3:9], Path("/proc/self/environ").read_text()]))
print(get_token())
"""
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = [sys.executable, "-c", program]
    log = tmp_path / "log"
    job = Job("set-up", command, tmp_path, env, log, Limits(60), [], [], [], open=True, trusted=True)
    assert token not in repr(job)
    assert carry_out(job).ok, log.read_text()
    first, second = log.read_text().splitlines()
    length, start, environ = json.loads(first)
    assert (length, start) == (len(token), "marked")
    assert "HF_TOKEN_PATH=/dev/stdin" in environ
    assert "marked" not in environ
    assert second == "[key removed]"


def test_without_a_token_the_set_up_has_no_input(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    program = "import os, sys; print(repr(sys.stdin.read()), os.environ.get('HF_TOKEN_PATH'))"
    env = {"PATH": os.environ["PATH"]}
    job = Job(
        "set-up", [sys.executable, "-c", program], tmp_path, env, tmp_path / "log", Limits(60), [], [], [], open=True
    )
    assert carry_out(job).ok
    assert (tmp_path / "log").read_text() == "'' None\n"


def test_every_command_is_guarded():
    """Those of `python -m`, and those that an installation makes."""
    for path in (ROOT / "agent").rglob("*.py"):
        _, begins, end = path.read_text().partition('\nif __name__ == "__main__":\n')
        assert not begins or end in ("    sys.exit(guarded(main))\n", "    sys.exit(command())\n"), path
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"sae-scientist": "agent.launch:command"}
