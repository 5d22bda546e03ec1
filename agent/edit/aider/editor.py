"""aider as the editor: it edits a copy, and what it did passes the same gate before it reaches the workspace."""

from __future__ import annotations

import difflib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.base.errors import AgentError
from agent.base.files import scratch_prefix
from agent.base.keys import child_environment, scrub
from agent.base.places import CODE
from agent.edit.aider.bridge import MODEL_NAME, Bridge
from agent.edit.gate import added_faults
from agent.edit.store import Change, write_all
from agent.edit.types import Outcome
from agent.models.base import Model, Reply

COMMAND_VARIABLE = "SAE_AGENT_AIDER"
TIMEOUT_SECONDS = 1800.0
_CONTEXT_TOKENS = 200_000
_LOG_SHOWN = 1500
_FEEDBACK_LONGEST = 6000


@dataclass(frozen=True)
class AiderTurn:
    """The outcome of a task that aider was given.

    Attributes:
        outcome: as our own engine says it; it has no blocks, as aider does not tell what became of each.
        replies: the model's answers: the first, and those to aider's complaints.
        log: what aider printed, keys removed.
    """

    outcome: Outcome
    replies: list[Reply]
    log: str


def find_aider(environ: Mapping[str, str] | None = None) -> Path:
    """The aider command: what SAE_AGENT_AIDER names, else the one that `make aider` builds, else the one on the path.

    Raises:
        AgentError: when there is none.
    """
    environ = os.environ if environ is None else environ
    given = environ.get(COMMAND_VARIABLE)
    if given:
        if not os.access(given, os.X_OK):
            raise AgentError(f"{COMMAND_VARIABLE} is {given}, which is no command: give the path of aider")
        return Path(given)
    built = CODE / ".aider-venv" / "bin" / "aider"
    if built.exists():
        return built
    found = shutil.which("aider", path=environ.get("PATH"))
    if found is None:
        raise AgentError("--editor aider needs aider, which is not installed: run `make aider`")
    return Path(found)


def edit_with_aider(
    model: Model,
    task: str,
    root: Path,
    editable: Sequence[str],
    *,
    purpose: str = "propose",
    lint: bool = True,
    command: Path | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> AiderTurn:
    """Have aider carry out a task on the files of a workspace.

    aider works on a copy, without git, without keys, and asks the campaign's model through a `Bridge`. Nothing is
    written to the workspace unless it changed something and the gate lets it pass.

    Args:
        model: who answers aider's questions.
        task: the whole prompt; the model sees it after aider's own instructions and the editable files.
        root: the workspace.
        editable: glob patterns, relative to `root`, of the files that may change.
        purpose: of the calls, for the transcript.
        lint: refuse changes that add fatal errors, as `agent.edit` does.
        command: the aider command; found when None.
        timeout: seconds after which aider is stopped.

    Raises:
        AgentError: when aider is missing, no file is editable, a file cannot be written, or the model failed (also
            `BudgetExceeded`); nothing was changed then.
    """
    command = command or find_aider()
    before = _snapshot(root, editable)
    if not before:
        raise AgentError(f"nothing to edit: no file in {root} matches {', '.join(editable)}")
    with (
        Bridge(model, purpose=purpose) as bridge,
        tempfile.TemporaryDirectory(prefix=scratch_prefix("aider")) as folder,
    ):
        home, copy = Path(folder) / "home", Path(folder) / "work"
        home.mkdir()
        for name, content in before.items():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes(content)
        finished, log = _run(_arguments(command, home, task, list(before)), copy, _environment(bridge, home), timeout)
        if bridge.failure is not None:
            raise bridge.failure
        after = {name: (copy / name).read_bytes() if (copy / name).is_file() else b"" for name in before}
        replies = list(bridge.replies)
    log = scrub(log)
    if not finished:
        outcome = _refused(f"aider was stopped after {timeout:.0f} s. Nothing was written.", replies)
    else:
        outcome = _take_over(root, before, after, log, replies, lint=lint)
    return AiderTurn(outcome, replies, log)


def _snapshot(root: Path, editable: Sequence[str]) -> dict[str, bytes]:
    paths = sorted({path for pattern in editable for path in root.glob(pattern) if path.is_file()})
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def _arguments(command: Path, home: Path, task: str, names: Sequence[str]) -> list[str]:
    """The command line. What could act outside the copy, or ask a person, is switched off."""
    message, metadata, settings = home / "task.md", home / "metadata.json", home / "settings.yml"
    # A message that starts with / or ! would be a command to aider.
    message.write_text(f"Task:\n\n{task}", encoding="utf-8", errors="replace")
    name = f"openai/{MODEL_NAME}"
    # Without these two aider looks its model up on the network, and sends a temperature that some models refuse.
    known = {"max_input_tokens": _CONTEXT_TOKENS, "max_tokens": _CONTEXT_TOKENS, "litellm_provider": "openai"}
    metadata.write_text(json.dumps({name: {**known, "mode": "chat"}}))
    settings.write_text(
        json.dumps([{"name": name, "edit_format": "diff", "examples_as_sys_msg": True, "use_temperature": False}])
    )
    options = {
        "--model": name,
        "--weak-model": name,
        "--edit-format": "diff",
        "--message-file": str(message),
        "--model-metadata-file": str(metadata),
        "--model-settings-file": str(settings),
        "--input-history-file": str(home / "input"),
        "--chat-history-file": str(home / "chat.md"),
        "--map-tokens": "0",
        "--encoding": "utf-8",
    }
    switches = (
        "--yes-always --no-git --no-auto-commits --no-dirty-commits --no-suggest-shell-commands --no-auto-lint "
        "--no-auto-test --no-analytics --analytics-disable --no-check-update --no-show-release-notes --no-detect-urls "
        "--no-show-model-warnings --no-check-model-accepts-settings --no-stream --no-pretty --no-fancy-input "
        "--disable-playwright --no-gitignore --no-restore-chat-history"
    )
    flat = [part for option in options.items() for part in option]
    return [*_dying_with_us(), str(command), *flat, *switches.split(), *names]


def _dying_with_us() -> list[str]:
    """A prefix that has the kernel end aider when the launcher is killed; empty where there is none."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


def _environment(bridge: Bridge, home: Path) -> dict[str, str]:
    return {
        **child_environment(),
        "HOME": str(home),
        "OPENAI_API_KEY": bridge.token,
        "OPENAI_API_BASE": bridge.url,
        "NO_PROXY": "127.0.0.1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "PYTHONIOENCODING": "utf-8",
    }


def _run(arguments: Sequence[str], folder: Path, environ: Mapping[str, str], timeout: float) -> tuple[bool, str]:
    """Run aider to its end, or to the end of its time; returns whether it ended by itself, and what it printed."""
    try:
        process = subprocess.Popen(
            arguments,
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise AgentError(f"cannot start aider ({arguments[0]}): {error.strerror}") from error
    with _ended(process):
        try:
            printed, _ = process.communicate(timeout=timeout)
            return True, printed.decode("utf-8", "replace")
        except subprocess.TimeoutExpired:
            pass
    printed, _ = process.communicate()
    return False, printed.decode("utf-8", "replace")


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """On leaving, the process and all that it started are gone."""
    try:
        yield
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def _take_over(
    root: Path,
    before: Mapping[str, bytes],
    after: Mapping[str, bytes],
    log: str,
    replies: Sequence[Reply],
    *,
    lint: bool,
) -> Outcome:
    new = {name: _with_old_line_ends(content, after[name]) for name, content in before.items()}
    changes = {name: Change(before[name], content) for name, content in new.items() if content != before[name]}
    if not changes:
        tail = log.strip()[-_LOG_SHOWN:]
        return _refused(f"aider changed nothing. Its last words:\n{tail}", replies)
    if lint:
        touched = {name: _touched(change) for name, change in changes.items()}
        faults = added_faults(changes, lambda path, line: line in touched[path])
        if faults:
            told = [str(fault) for fault in faults]
            text = "LINT: nothing was written, as the new text would have errors it has not now:\n" + "\n".join(told)
            return _refused(text, replies, lint=told)
    write_all(root, changes)
    return Outcome(applied=True, blocks=[], lint=[], feedback="", changed=sorted(changes), pending=[])


def _refused(feedback: str, replies: Sequence[Reply], *, lint: Sequence[str] = ()) -> Outcome:
    cut_off = bool(replies) and replies[-1].finish == "length"
    return Outcome(
        applied=False,
        blocks=[],
        lint=list(lint),
        feedback=feedback[:_FEEDBACK_LONGEST],
        changed=[],
        pending=[],
        failure="lint" if lint else "length" if cut_off else "format",
    )


def _with_old_line_ends(before: bytes, after: bytes) -> bytes:
    """aider writes line feeds only: give a file of Windows line ends its own back."""
    windows = before.count(b"\r\n")
    if windows and windows == before.count(b"\n") and b"\r\n" not in after:
        return after.replace(b"\n", b"\r\n")
    return after


def _touched(change: Change) -> set[int]:
    """The lines (from 1) of the new text that the edit wrote."""
    old, new = (change.before or b"").splitlines(), change.after.splitlines()
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    return {
        line + 1 for kind, _, _, start, end in matcher.get_opcodes() if kind != "equal" for line in range(start, end)
    }
