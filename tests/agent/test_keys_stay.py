"""No key leaves the launcher: not into a file, a log, a process list or a child's environment, whatever goes wrong."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from agent.execute.jail import measure
from tests.agent.campaigns import IDEA, ROOT, TINY
from tests.servers.model_server import Fault, ModelServer, fault

IN_ENVIRONMENT = {
    "OPENAI_COMPATIBLE_API_KEY": "sk-marked-0001-environment-aaaaaaaaaaaa",
    "HF_TOKEN": "hf_marked0002environmentbbbbbbbbbbbb",
    "AWS_SECRET_ACCESS_KEY": "marked-0003/environment+cccccccccccc",
    "SAE_LAB_TOKEN": "marked-0004-of-an-allowed-name-dddddd",
}
IN_FILE = {
    "ANTHROPIC_API_KEY": "sk-ant-marked-0005-dotenv-eeeeeeeeee",
    "GITHUB_TOKEN": "ghp_marked0006dotenvffffffffffffffffff",
}
MARKS = [value.encode() for value in (IN_ENVIRONMENT | IN_FILE).values()]

# The experiment shows all that it can find, and the model says a key that it was told by a careless server.
REPLY = f"""<change>Show what there is to see ({IN_ENVIRONMENT["OPENAI_COMPATIBLE_API_KEY"]})</change>
<prediction>
core.explained_variance down
It costs nothing.
</prediction>

experiment.py
<<<<<<< SEARCH
    run = start(parser.parse_args().out_dir)
=======
    import os
    from pathlib import Path

    for found in [Path("/proc/self"), *Path("/proc").glob("[0-9]*")]:
        for name in ("environ", "cmdline"):
            try:
                sys.stdout.write((found / name).read_text() + "\\n")
            except OSError:
                continue
    for found in (Path.home(), Path.cwd(), Path.cwd().parent.parent):
        sys.stdout.write(f"{{found}} {{os.listdir(found) if os.access(found, os.R_OK) else ''}}\\n")
    run = start(parser.parse_args().out_dir)
>>>>>>> REPLACE
"""
CLOSING = "<analysis>\nIt made no difference.\n</analysis>\n<change>none</change>\n"
FATAL = [Fault("status", 400, message="no such key {key}", error="invalid_request_error")]
TRANSIENT = [
    Fault("status", 429, (("retry-after", "0"),), message="too many calls of {key}"),
    Fault("status", 500, message="while answering {key}"),
    *(fault(name) for name in ("cut", "end", "empty", "malformed", "stream_error", "drop", "silent", "stall@2")),
]


def copy_project(folder):
    """The project as a user has it, with a `.env` of its own."""
    for name in ("agent", "lab", "templates", "ideas"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in IN_FILE.items()))


def launch(project, url, *arguments):
    """Start the launcher, and look at all its children's command lines and environments until it ends."""
    command = [sys.executable, "-m", "agent.launch", "--model", f"openai:local@{url}", *map(str, arguments)]
    patience = {"SAE_AGENT_MODEL_TRIES": "20", "SAE_AGENT_MODEL_WAIT": "0.01", "SAE_AGENT_MODEL_TIMEOUT": "1"}
    env = {**os.environ, **IN_ENVIRONMENT, **patience, "PYTHONPATH": str(project)}
    seen = set()
    process = subprocess.Popen(
        command, cwd=project, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=False
    )

    def watch():
        while process.poll() is None:
            for child in measure.tree(process.pid):
                for name in ("cmdline", "environ"):
                    try:
                        seen.add(Path(f"/proc/{child}/{name}").read_bytes())
                    except OSError:
                        continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate(timeout=500)
    watcher.join()
    return process.returncode, output, seen


def test_no_key_is_found_anywhere(campaign, tmp_path):
    project = tmp_path / "project"
    copy_project(project)
    runs = tmp_path / "runs"
    with ModelServer([REPLY, CLOSING], [*FATAL, *TRANSIENT], key=IN_ENVIRONMENT["OPENAI_COMPATIBLE_API_KEY"]) as server:
        first = ("--idea", IDEA, "--profile", TINY, "--runs", runs, "--max-runs", "1")
        code, output, seen = launch(project, server.openai_url, *first)
        assert code == 2, output
        folder = next(runs.iterdir())
        code, more, others = launch(project, server.openai_url, "--resume", folder)
        assert code == 0, more
        assert {call.fault for call in server.calls} >= {"status", "cut", "stall", "drop", "malformed"}
    log = (folder / "run_1" / "log.txt").read_bytes()
    assert b"SAE_LAB_PROFILE" in log
    written = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    git = subprocess.run(["git", "-C", folder, "log", "-p", "--all"], capture_output=True, check=True).stdout
    places = {**written, "output": output + more, "git": git}
    places |= {f"process {number}": text for number, text in enumerate(seen | others)}
    assert len(seen | others) > 10
    found = [str(place) for place, text in places.items() if any(mark in text for mark in MARKS)]
    assert found == []
