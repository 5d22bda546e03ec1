"""Keys: found in the environment and `.env`, scrubbed from texts and logs, kept from child processes."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.base.keys import HIDDEN, child_environment, environment, remember_keys, scrub, secret_values


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


def test_a_key_goes_however_it_is_written() -> None:
    key = """marked/"with" 'every' \\ sign & ünïcode^$.*[x](y)?+|{1}"""
    remember_keys({"ANY_KEY": f"{key}\n"})
    escaped = [json.dumps(key), json.dumps(key, ensure_ascii=False), repr(key), quote(key, safe="")]
    escaped.append(base64.b64encode(key.encode()).decode())
    for text in (key, *escaped):
        assert "marked" not in scrub(f"a{text}b")
        assert HIDDEN in scrub(f"a{text}b")


def test_a_key_is_known_without_the_space_around_it() -> None:
    environment(environ={"PADDED_API_KEY": "  padded-marked-value \n"})
    assert scrub("padded-marked-value") == HIDDEN


@pytest.mark.parametrize(
    "name", ["OPENAI_API_KEY_OLD", "DB_PASS", "SECRET_KEY_BASE", "PGPASSWORD", "GH_ACCESS_TOKEN_2"]
)
def test_a_name_says_that_it_is_secret(name: str) -> None:
    assert secret_values({name: "some-long-value"}) == {"some-long-value"}


@pytest.mark.parametrize("name", ["MAX_TOKENS", "TOKENIZERS_PARALLELISM", "AUTHOR", "COMPASS", "PASSES", "KEYBOARD"])
def test_a_name_that_only_sounds_like_it_does_not(name: str) -> None:
    assert secret_values({name: "some-long-value"}) == set()


def test_a_path_is_no_key_but_base64_may_begin_like_one() -> None:
    values = {"A_KEY": "/home/user/key.pem", "B_KEY": "~/.ssh/id", "C_KEY": "/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}
    assert secret_values(values) == {values["C_KEY"]}
    assert secret_values({"LONG_KEY": "/" + "A" * 5000, "TILDE_KEY": "~no-path-at-all"}) == {
        "/" + "A" * 5000,
        "~no-path-at-all",
    }


def test_a_password_in_an_address_goes() -> None:
    assert (
        scrub("at https://user:pass@host:1/x and http://host:80/y@z")
        == f"at https://{HIDDEN}@host:1/x and http://host:80/y@z"
    )


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
