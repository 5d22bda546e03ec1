"""No key leaves the launcher: not into a file, a log, a process list or a child's environment, whatever goes wrong."""

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import pytest

from agent.compute.jail import measure
from lab.cache import root
from tests.agent.campaigns import IDEA, QUICK, ROOT
from tests.servers.model_server import Fault, ModelServer, fault

# What is looked for: the middle of each key, which no way of writing it that escapes single characters changes.
ASKED = 'sk-marked0001asked/"q"\\b+^$.*[z](y)?|{a}=='
IN_ENVIRONMENT = {
    "OPENAI_COMPATIBLE_API_KEY": ASKED,
    "ANTHROPIC_API_KEY": "sk-ant-api03-marked0002anthropic-AAAA_bbbb",
    "HF_TOKEN": "hf_marked0003hubAAAAAAAAAAAAAAAA",
    "AWS_SECRET_ACCESS_KEY": "/marked0004cloud/AAAAAAAA+BBBBBBBB/CCCC==",
    "DATABASE_PASSWORD": "marked0005database 'with' \"quotes\" and ünïcode\n",
    "SAE_LAB_TOKEN": "marked0006prefixed",
    "LC_NOTE": "sk-ant-api03-marked0002anthropic-AAAA_bbbb",
    "HTTPS_PROXY": "http://user:marked0007proxy@127.0.0.1:9",
    "WORK_API_KEY_OLD": "marked0008old",
}
IN_FILE = {"OPENAI_API_KEY": "sk-proj-marked0009fileAAAAAAAA", "GITHUB_TOKEN": "ghp_marked0010fileAAAAAAAAAAAAAAAA"}
MARKS = [
    f"marked{number:04d}{word}"
    for number, word in enumerate(
        ("asked", "anthropic", "hub", "cloud", "database", "prefixed", "proxy", "old", "file"), 1
    )
] + ["marked0010file"]


def spellings(mark):
    """The bytes to look for: as it is, in base64 wherever it may begin, in hexadecimal, and as wide characters."""
    plain = mark.encode()
    yield plain
    yield plain.hex().encode()
    yield mark.encode("utf-16-le")
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + plain)
        yield encoded[-(-before * 8 // 6) : (before + len(plain)) * 8 // 6]


SOUGHT = {mark: tuple(spellings(mark)) for mark in MARKS}


def found_in(places):
    """Each place that a key was found in, with its mark."""
    return sorted(
        (str(place), mark)
        for place, content in places.items()
        for mark, sought in SOUGHT.items()
        if any(each in content for each in sought)
    )


def files_of(folder, since=0.0):
    """The contents of all files of a folder, those in archives and the history of repositories too, unpacked."""
    found = {}
    for place, folders, names in os.walk(folder):
        if ".git" in folders:
            command = ["git", "-C", place, "cat-file", "--batch", "--batch-all-objects"]
            found[Path(place, ".git", "objects")] = subprocess.run(command, capture_output=True, check=True).stdout
        for path in (Path(place, name) for name in names):
            with suppress(OSError):  # deleted meanwhile
                if path.is_symlink() or not path.is_file() or path.stat().st_mtime < since:
                    continue
                found[path] = str(path).encode() + path.read_bytes()
                if zipfile.is_zipfile(path):
                    with zipfile.ZipFile(path) as archive:
                        found |= {path / name: archive.read(name) for name in archive.namelist()}
    return found


@contextmanager
def watched(process, temporary):
    """Look all the time at what a process starts and what comes and goes in its temporary folder.

    Yields:
        What was seen, to be read afterwards. The process itself counts from its first child on: before it has begun to
        run nobody can have taken out of its environment what it was started with.
    """
    seen = {}
    over = threading.Event()

    def look():
        while not over.wait(0.002):
            children = measure.tree(process.pid)
            for one in [process.pid, *children] if children else []:
                for name in ("cmdline", "environ"):
                    with suppress(OSError):
                        content = Path(f"/proc/{one}/{name}").read_bytes()
                        seen[f"{name} {hash(content)}"] = content

    def look_at_files():
        while not over.wait(0.05):
            seen.update({f"{path} once": content for path, content in files_of(temporary).items()})

    watchers = [threading.Thread(target=each) for each in (look, look_at_files)]
    for watcher in watchers:
        watcher.start()
    try:
        yield seen
    finally:
        over.set()
        for watcher in watchers:
            watcher.join()


def run_watched(command, temporary, **given):
    """Run a command to its end; returns its exit code and where bytes were that others could see."""
    temporary.mkdir(exist_ok=True)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **given)
    with process, watched(process, temporary) as seen:
        try:
            out, err = process.communicate(timeout=600)
        finally:
            process.kill()
    return process.returncode, {**seen, "stdout": out, "stderr": err}


# What a model says that its careless server let read a key.
TOLD = f"{ASKED} or {json.dumps(ASKED)} or {quote(ASKED, safe='')} or {base64.b64encode(ASKED.encode()).decode()}"
SCRIPT = (ROOT / "ideas" / f"{IDEA}.script.jsonl").read_text().splitlines()
REPLIES = [json.loads(line)["reply"].replace("<change>", f"<change>{TOLD} ") for line in SCRIPT[:2]]
CLOSING = f"<analysis>\nIt made no difference to {TOLD}.\n</analysis>\n<change>none</change>\n"
TRANSIENT = [
    Fault("status", 429, (("retry-after", "0"), ("x-key", "{key}")), message="too many calls of {key}"),
    Fault("status", 500, message="while answering {key}"),
    Fault("stream_error", message="in the middle of {key}", error="server_error_{key}"),
    *map(fault, ("cut", "end", "empty", "malformed", "drop", "stall@1.5")),
]
FATAL = Fault("status", 400, message="no such key {key}", error="invalid_request_error")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """All that command lines left, printed or showed while they worked: a launcher that was refused, and others."""
    folder = tmp_path_factory.mktemp("keys")
    project, runs, temporary = folder / "project", folder / "runs", folder / "temporary"
    for name in ("agent", "lab", "templates", "ideas"):
        shutil.copytree(ROOT / name, project / name)
    (project / ".env").write_text("".join(f"{name}={value}\n" for name, value in IN_FILE.items()))
    faults = [*TRANSIENT, FATAL, *TRANSIENT]

    def reply(call):
        """A question asked again, since the call before was spoilt or came too late, is answered as before."""
        number = list(dict.fromkeys(other.prompt for other in server.calls)).index(call.prompt)
        return REPLIES[number] if number < len(REPLIES) else CLOSING

    with ModelServer(reply, faults) as server:
        env = {
            **os.environ,
            **IN_ENVIRONMENT,
            "PYTHONPATH": str(project),
            "TMPDIR": str(temporary),
            "ANTHROPIC_BASE_URL": server.url,
            "OPENAI_LOG": "debug",
            "ANTHROPIC_LOG": "debug",
            "SAE_AGENT_MODEL_TRIES": "20",
            "SAE_AGENT_MODEL_WAIT": "0.001",
            "SAE_AGENT_MODEL_TIMEOUT": "1",
        }
        began = time.time()
        places = {}

        def go(wanted, *arguments):
            command = [sys.executable, "-m", *map(str, arguments)]
            code, seen = run_watched(command, temporary, cwd=project, env=env)
            assert code == wanted, seen["stderr"]
            places.update({f"{place} of {' '.join(command[2:4])}": content for place, content in seen.items()})

        asked = ("--model", f"openai:local@{server.openai_url}")
        options = ("--profile", QUICK, "--runs", runs, "--max-runs", "1", "--no-matched")
        new = ("--idea", IDEA, "--model", "anthropic:claude-sonnet-5-5", *options, "--confirm", "0")
        go(2, "agent.launch", *new)
        run = next(runs.iterdir())
        go(0, "agent.launch", "--resume", run, *asked)
        assert len(server.calls) > len(faults) + len(REPLIES)
        server.faults = [*[None] * len(server.calls), FATAL]
        go(2, "agent.writeup", run, "--writeups", runs / "writeups", "--no-compile", *asked)
        assert server.calls[-1].fault
        go(0, "agent.review", run)
        go(0, "agent.verify", run)
        assert {call.key for call in server.calls} == {ASKED, IN_ENVIRONMENT["ANTHROPIC_API_KEY"]}
    return {**places, **files_of(runs), **files_of(temporary), **files_of(root(), since=began)}


def test_no_key_is_found_anywhere(told):
    assert found_in(told) == []


def test_all_that_matters_was_looked_at(told):
    """The launcher, its children of each kind, the debug logs of both clients, and what a campaign leaves."""
    seen = b"\n".join(content for place, content in told.items() if str(place).startswith(("cmdline", "environ")))
    for kind in (b"agent.launch", b"git\0", b"lab.prepare", b"experiment.py", b"lab.evaluate", b"HF_TOKEN_PATH="):
        assert kind in seen, kind
    assert b"anthropic" in told["stderr of agent.launch --idea"]
    for launch in ("--idea", "--resume"):
        assert b"DEBUG" in told[f"stderr of agent.launch {launch}"]
    names = {Path(place).name for place in told if isinstance(place, Path)}
    assert names >= {
        "ledger.jsonl",
        "transcript.jsonl",
        "report.html",
        "notes.txt",
        "log.txt",
        "results.json",
        "objects",
    }
    transcript = next(content for place, content in told.items() if Path(place).name == "transcript.jsonl")
    assert b"[key removed]" in transcript


KEY = '"marked0001" + "asked"'  # so that the text of a program has no key in it
LEAKS = {
    "a child's environment": f"run(['sleep', '0.2'], env={{'A': {KEY}}})",
    "a child's command line": f"run(['sh', '-c', 'sleep 0.2; true', {KEY}])",
    "a grandchild": "run(['sh', '-c', 'A=$0$1 sleep 0.2; true', 'marked0001', 'asked'])",
    "its own environment": "run(['sleep', '0.2'], env={})",
    "a file that is gone again": f"path = Path(os.environ['TMPDIR'], 'x'); path.write_text({KEY}); "
    "time.sleep(0.2); path.unlink()",
    "its output": f"print({KEY})",
    "its errors": f"raise ValueError({KEY})",
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_of_a_process_would_be_found(leak, tmp_path):
    program = f"import os, time; from pathlib import Path; from subprocess import run; {LEAKS[leak]}"
    env = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)}
    if leak == "its own environment":
        env["OPENAI_COMPATIBLE_API_KEY"] = ASKED
    _, seen = run_watched([sys.executable, "-c", program], tmp_path, env=env)
    assert MARKS[0] in {mark for _, mark in found_in(seen)}


def in_history(folder):
    """A file that was committed and taken away again."""
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a"]
    (folder / "x").write_text(ASKED)
    for step in (["init", "-q"], ["add", "x"], ["commit", "-qm", "x"], ["rm", "-q", "x"], ["commit", "-qm", "y"]):
        subprocess.run([*git, *step], check=True)


def in_archive(folder):
    with zipfile.ZipFile(folder / "x.pt2", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", ASKED * 100)


WRITTEN = {
    "plain": lambda folder: (folder / "x").write_text(f"a {ASKED} b"),
    "JSON": lambda folder: (folder / "x").write_text(json.dumps({"a": [ASKED]})),
    "Python": lambda folder: (folder / "x").write_text(repr({"a": ASKED})),
    "an address": lambda folder: (folder / "x").write_text(quote(ASKED, safe="")),
    "base64": lambda folder: (folder / "x").write_bytes(base64.b64encode(ASKED.encode())),
    "base64 in the middle": lambda folder: (folder / "x").write_bytes(base64.b64encode(f"user:{ASKED}".encode())),
    "base64 elsewhere": lambda folder: (folder / "x").write_bytes(base64.b64encode(f"users:{ASKED}".encode())),
    "hexadecimal": lambda folder: (folder / "x").write_text(ASKED.encode().hex()),
    "wide characters": lambda folder: (folder / "x").write_text(ASKED, encoding="utf-16"),
    "a name": lambda folder: (folder / MARKS[0]).write_text("x"),
    "an archive": in_archive,
    "history": in_history,
}


@pytest.mark.parametrize("way", WRITTEN)
def test_a_leak_into_a_file_would_be_found(way, tmp_path):
    assert found_in(files_of(tmp_path)) == []
    WRITTEN[way](tmp_path)
    assert MARKS[0] in {mark for _, mark in found_in(files_of(tmp_path))}


def test_every_key_has_a_mark():
    """Each is looked for, whatever it holds besides."""
    for value in (IN_ENVIRONMENT | IN_FILE).values():
        assert found_in({"here": value.encode()})
