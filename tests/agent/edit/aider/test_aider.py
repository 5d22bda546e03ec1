"""The real aider against the local model server: what it changes, what is refused, what it may not see."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from agent.base.errors import AgentError
from agent.edit.aider.bridge import Bridge, request_of
from agent.edit.aider.editor import edit_with_aider, find_aider
from agent.models import BudgetExceeded, BudgetLimits, Model, ModelSettings, make_model
from agent.models.transcript import read_lines
from tests.servers.model_server import ModelServer, fault

KEY = "sk-ant-marked-0123456789"
CODE = "import math\n\n\ndef area(radius):\n    return 3 * radius**2\n"


def block(search: str, replace: str, name: str = "experiment.py") -> str:
    return (
        f"<analysis>nothing yet</analysis>\n\n{name}\n```python\n<<<<<<< SEARCH\n{search}"
        f"=======\n{replace}>>>>>>> REPLACE\n```\n"
    )


GOOD = block("    return 3 * radius**2\n", "    return math.pi * radius**2\n")


def _aider() -> Path | None:
    try:
        return find_aider()
    except AgentError:
        return None


needs_aider = pytest.mark.skipif(_aider() is None, reason="aider is not installed: run `make aider`")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    (folder / "experiment.py").write_text(CODE)
    (folder / "notes.txt").write_text("notes\n")
    return folder


def connect(server: ModelServer, tmp_path: Path, limits: BudgetLimits | None = None) -> Model:
    environ = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": server.url}
    settings = ModelSettings(tries=3, sleep=lambda seconds: None)
    record = tmp_path / "transcript.jsonl"
    return make_model(
        "anthropic:claude-sonnet-5-5", environ=environ, settings=settings, transcript=record, limits=limits
    )


@needs_aider
def test_an_edit_is_made_and_every_call_recorded(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also: faults are retried, Windows line ends are kept, files that are not editable stay as they are."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    (root / "experiment.py").write_bytes(CODE.replace("\n", "\r\n").encode())
    reply = GOOD + block("", "x = 1\n", "other.py")
    with ModelServer([reply], [fault("500"), fault("cut")]) as server:
        turn = edit_with_aider(connect(server, tmp_path), "Use the real pi.", root, ["experiment.py"], purpose="run_1")
    assert turn.outcome.applied
    assert turn.outcome.changed == ["experiment.py"]
    expected = CODE.replace("3 *", "math.pi *").replace("\n", "\r\n")
    assert (root / "experiment.py").read_bytes() == expected.encode()
    assert sorted(path.name for path in root.iterdir()) == ["experiment.py", "notes.txt"]
    assert (root / "notes.txt").read_text() == "notes\n"
    assert [reply.text for reply in turn.replies] == [reply]
    (line,) = read_lines(tmp_path / "transcript.jsonl")
    assert (line["purpose"], line["tries"]) == ("run_1", 3)
    assert "Use the real pi." in line["request"]["prompt"]
    assert "def area(radius)" in line["request"]["prompt"]
    assert KEY not in turn.log
    assert KEY not in (tmp_path / "transcript.jsonl").read_text()


@needs_aider
def test_what_aider_asks_for_again_goes_through_the_gate_too(root: Path, tmp_path: Path) -> None:
    missing = block("    return 4 + diameter\n", "    return 5\n")
    bad = block("    return 3 * radius**2\n", "    return pie * radius**2\n")
    with ModelServer([missing, bad]) as server:
        turn = edit_with_aider(connect(server, tmp_path), "Use the real pi.", root, ["experiment.py"])
    assert [reply.text for reply in turn.replies] == [missing, bad]
    assert not turn.outcome.applied
    assert turn.outcome.failure == "lint"
    assert "F821" in turn.outcome.lint[0]
    assert (root / "experiment.py").read_text() == CODE


@needs_aider
def test_a_script_can_answer_aider_and_its_end_is_an_error(root: Path, tmp_path: Path) -> None:
    script = tmp_path / "campaign.jsonl"
    script.write_text(json.dumps({"reply": block("no such line\n", "x\n")}) + "\n")
    model = make_model(f"replay:{script}", environ={}, transcript=tmp_path / "t.jsonl", start=0)
    with pytest.raises(AgentError, match="at its end"):
        edit_with_aider(model, "Use the real pi.", root, ["experiment.py"])
    assert (root / "experiment.py").read_text() == CODE


def fake(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "aider"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_what_aider_gets_from_us(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    seen = tmp_path / "seen"
    command = fake(
        tmp_path, f'env > {seen}; echo "$@" >> {seen}; pwd >> {seen}; cat experiment.py >> {seen}; ls >> {seen}'
    )
    with ModelServer() as server:
        turn = edit_with_aider(connect(server, tmp_path), "Go on.", root, ["experiment.py"], command=command)
    text = seen.read_text()
    assert not turn.outcome.applied
    assert KEY not in text
    assert str(root) not in text
    assert "notes.txt" not in text
    for option in ("--no-git", "--yes-always", "--no-suggest-shell-commands", "--no-analytics", "--no-check-update"):
        assert option in text
    assert (root / "experiment.py").read_text() == CODE


def post(url: str, token: str, text: str) -> None:
    import openai

    client = openai.OpenAI(api_key=token, base_url=url, max_retries=0)
    client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}])


def test_no_change_is_said(root: Path, tmp_path: Path) -> None:
    with ModelServer() as server:
        turn = edit_with_aider(
            connect(server, tmp_path), "Go on.", root, ["*.py"], command=fake(tmp_path, "echo I did nothing")
        )
    assert (turn.outcome.applied, turn.outcome.failure) == (False, "format")
    assert turn.outcome.feedback == "aider changed nothing. Its last words:\nI did nothing"


def test_a_budget_stops_the_bridge(tmp_path: Path) -> None:
    import openai

    with ModelServer() as server, Bridge(connect(server, tmp_path, BudgetLimits(tokens=1)), purpose="x") as bridge:
        post(bridge.url, bridge.token, "first")
        for _ in range(2):
            with pytest.raises(openai.BadRequestError, match="budget of 1 tokens is used up"):
                post(bridge.url, bridge.token, "second")
    assert isinstance(bridge.failure, BudgetExceeded)
    assert len(server.calls) == 1


def test_an_aider_that_hangs_is_stopped_with_its_children(root: Path, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    command = fake(tmp_path, f"echo broken > experiment.py; sleep 60 & echo $! > {mark}; wait")
    with ModelServer() as server:
        turn = edit_with_aider(
            connect(server, tmp_path), "Go on.", root, ["experiment.py"], command=command, timeout=1.0
        )
    assert "stopped after 1 s" in turn.outcome.feedback
    assert (root / "experiment.py").read_text() == CODE
    stat = Path(f"/proc/{mark.read_text().strip()}/stat")
    assert not stat.exists() or stat.read_text().split()[2] == "Z"


def test_a_missing_aider_and_nothing_to_edit_are_said(root: Path, tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="SAE_AGENT_AIDER"):
        find_aider({"SAE_AGENT_AIDER": str(tmp_path / "none")})
    with ModelServer() as server, pytest.raises(AgentError, match="nothing to edit"):
        edit_with_aider(connect(server, tmp_path), "Go on.", root, ["other.py"], command=fake(tmp_path, "true"))


def test_the_bridge_opens_only_to_its_token(tmp_path: Path) -> None:
    import openai

    with ModelServer(["hello"]) as server, Bridge(connect(server, tmp_path), purpose="x") as bridge:
        client = openai.OpenAI(api_key="another", base_url=bridge.url, max_retries=0)
        with pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        client = openai.OpenAI(api_key=bridge.token, base_url=bridge.url, max_retries=0)
        whole = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        pieces = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=True)
        streamed = "".join(chunk.choices[0].delta.content or "" for chunk in pieces if chunk.choices)
    assert whole.choices[0].message.content == streamed == "hello"
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 2
    assert "ANTHROPIC" not in os.environ.get("OPENAI_API_KEY", "")


def test_a_chat_becomes_one_request() -> None:
    def message(role: str, content: object) -> dict[str, object]:
        return {"role": role, "content": content}

    chat = [message("system", "a"), message("system", "b"), message("user", [{"type": "text", "text": "c"}])]
    one = request_of({"messages": chat, "max_tokens": 9}, purpose="x")
    assert (one.system, one.prompt, one.max_tokens, one.purpose) == ("a\n\nb", "c", 9, "x")
    more = request_of({"messages": [*chat, message("assistant", "d"), message("user", "e")]}, purpose="x", max_tokens=5)
    assert more.prompt == "[user]\nc\n\n[assistant]\nd\n\n[user]\ne"
    assert more.max_tokens == 5
