"""Keys: found in the environment and `.env`, scrubbed from texts and logs, kept from child processes."""

from __future__ import annotations

import logging
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.models.keys import HIDDEN, ScrubbingFormatter, child_environment, environment, remember_keys, scrub


@pytest.mark.parametrize(
    "key",
    [
        "sk-ant-api03-AbCdEfGh0123456789",
        "sk-proj-abcdefghijklmnop1",
        "hf_abcdefghijklmnopqrstuvwx",
        "ghp_abcdefghijklmnopqrstuvwx",
        "AKIAABCDEFGHIJKLMNOP",
        "gsk_abcdefghijklmnopqrstuvwx",
        "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_what_looks_like_a_key_goes(key: str) -> None:
    assert scrub(f"before\n{key}, after") == f"before\n{HIDDEN}, after"


@pytest.mark.parametrize(
    "text",
    [
        "mask-based-sparse-orthogonality-2024",
        "a task-specific-regularisation-term1",
        "sk-learn and risk-weighted-0123456789abcdef",
        "8a52411b-0254-4a79-9c7d-5ac4b0605b84",
        "core.explained_variance 0.7890625",
    ],
)
def test_what_does_not_look_like_one_stays(text: str) -> None:
    assert scrub(text) == text


def test_known_values_go_wherever_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "plain words as a key")
    monkeypatch.setenv("OTHER_TOKEN_2", "plain words as a key, longer")
    monkeypatch.setenv("SAE_LAB_MAX_TOKENS", "123456789")
    monkeypatch.setenv("SHORT_KEY", "none")
    monkeypatch.setenv("FILE_CREDENTIALS", "/a/path/to/somewhere")
    text = "xplain words as a key, longer; plain words as a key; 123456789 none /a/path/to/somewhere"
    assert scrub(text) == f"x{HIDDEN}; {HIDDEN}; 123456789 none /a/path/to/somewhere"


def test_the_env_file_is_read_beneath_the_environment_and_not_exported(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OPENAI_API_KEY=from-the-file-1\nANTHROPIC_API_KEY=from-the-file-2\n")
    found = environment(tmp_path, {"OPENAI_API_KEY": "from-outside-1", "EMPTY": ""})
    assert found == {"OPENAI_API_KEY": "from-outside-1", "ANTHROPIC_API_KEY": "from-the-file-2"}
    assert "ANTHROPIC_API_KEY" not in os.environ
    assert scrub("from-the-file-2 from-outside-1") == f"{HIDDEN} {HIDDEN}"


def test_no_env_file_is_no_error(tmp_path: Path) -> None:
    assert environment(tmp_path, {"A": "b"}) == {"A": "b"}


def test_a_log_line_and_its_traceback_are_scrubbed() -> None:
    remember_keys({"ANY_KEY": "the-marked-value"})
    try:
        raise ValueError("in the-marked-value")
    except ValueError:
        record = logging.LogRecord("n", logging.ERROR, "p", 1, "with %s", ("the-marked-value",), None)
        import sys

        record.exc_info = sys.exc_info()
    shown = ScrubbingFormatter().format(record)
    assert "marked" not in shown
    assert shown.count(HIDDEN) >= 2


def test_a_child_gets_an_allow_list_without_keys() -> None:
    environ = {
        "PATH": "/usr/bin",
        "LC_ALL": "C",
        "CUDA_VISIBLE_DEVICES": "0",
        "SAE_LAB_SEED": "1",
        "ANTHROPIC_API_KEY": "sk-ant-marked-0123456789",
        "SAE_LAB_TOKEN": "a-secret-value",
        "HF_TOKEN": "hf_abcdefghijklmnopqrstuvwx",
        "LANG": "sk-ant-marked-0123456789",
        "AWS_ANYTHING": "x",
        "SSH_AUTH_SOCK": "/tmp/agent",
        "HTTP_PROXY": "http://user:pass@proxy",
    }
    child = child_environment({"SAE_LAB_PROFILE": "tiny"}, environ=environ)
    assert child == {
        "PATH": "/usr/bin",
        "LC_ALL": "C",
        "CUDA_VISIBLE_DEVICES": "0",
        "SAE_LAB_SEED": "1",
        "SAE_LAB_PROFILE": "tiny",
    }


def test_a_real_child_sees_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "marked-value-of-the-key")
    shown = subprocess.run(["env"], env=child_environment(), capture_output=True, text=True, check=True).stdout
    assert "marked" not in shown
    assert "PATH=" in shown


@given(st.text())
def test_scrubbing_is_done_once_and_for_all(text: str) -> None:
    assert scrub(scrub(text)) == scrub(text)
