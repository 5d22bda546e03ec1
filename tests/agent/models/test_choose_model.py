"""The choices of `--model`, and what `auto` comes to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agent.base.errors import AgentError
from agent.models import TABLE, CallFailed, ModelSettings, Request, choose, load, make_model
from agent.models.anthropic import PRICES
from agent.models.openai import PRICES as OPENAI_PRICES
from agent.models.prices import Usage, price_of
from tests.servers.model_server import ModelServer

DEFAULT_NAMES = {name: load(name).default_name for name in TABLE}
BOTH = {"ANTHROPIC_API_KEY": "a" * 20, "OPENAI_API_KEY": "b" * 20}


def test_auto_takes_anthropic_then_openai_then_the_script(tmp_path: Path) -> None:
    script = tmp_path / "campaign.jsonl"
    assert choose("auto", script=script, environ=BOTH).provider == "anthropic"
    openai = choose("auto", script=script, environ={"OPENAI_API_KEY": "b" * 20})
    assert (openai.provider, openai.name) == ("openai", DEFAULT_NAMES["openai"])
    scripted = choose("auto", script=script, environ={"OPENAI_API_KEY": ""})
    assert (scripted.provider, scripted.name) == ("replay", str(script))
    assert "no model is asked" in scripted.said
    with pytest.raises(AgentError, match="no model to ask: set ANTHROPIC_API_KEY or OPENAI_API_KEY"):
        choose("auto", environ={})


@pytest.mark.parametrize(
    ("spec", "provider", "name", "base_url"),
    [
        ("anthropic:claude-opus-5-5", "anthropic", "claude-opus-5-5", ""),
        ("anthropic:", "anthropic", DEFAULT_NAMES["anthropic"], ""),
        ("openai", "openai", DEFAULT_NAMES["openai"], ""),
        ("openai:gpt-5.4", "openai", "gpt-5.4", ""),
        ("openai:qwen2.5:7b@http://localhost:11434/v1", "openai", "qwen2.5:7b", "http://localhost:11434/v1"),
        ("openai:org/model@https://Host:8443/v1/", "openai", "org/model", "https://Host:8443/v1/"),
        ("replay:a/b:c.jsonl", "replay", "a/b:c.jsonl", ""),
    ],
)
def test_the_forms(spec: str, provider: str, name: str, base_url: str) -> None:
    choice = choose(spec, environ=BOTH)
    assert (choice.provider, choice.name, choice.base_url) == (provider, name, base_url)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("gpt-4", "unknown: give anthropic:NAME"),
        ("", "unknown"),
        ("replay:", "unknown"),
        ("openai:x@host:8000", "should start with http"),
        ("openai:x", "needs a key: set OPENAI_API_KEY"),
        ("openai:x@https://api.openai.com/v1", "needs a key: set OPENAI_API_KEY"),
        ("anthropic:x", "needs a key: set ANTHROPIC_API_KEY"),
        ("sk-ant-marked-0123456789", "unknown"),
    ],
)
def test_wrong_forms_are_one_clear_line(spec: str, said: str) -> None:
    with pytest.raises(AgentError, match=said) as failed:
        choose(spec, environ={})
    assert "\n" not in str(failed.value)
    assert "marked" not in str(failed.value)


def test_keys_come_from_the_env_file_of_the_project(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ANTHROPIC_API_KEY='key-of-the-file-1'\n")
    assert make_model("auto", root=tmp_path).name == f"anthropic:{DEFAULT_NAMES['anthropic']}"


@pytest.mark.parametrize("secret", ["http://user:pass@host/v1", "http://host/v1?key=pass", "http://host/v1#pass"])
def test_an_address_holds_no_secret(secret: str) -> None:
    with pytest.raises(
        AgentError, match=r"should be plain, like http://host/v1: .*OPENAI_COMPATIBLE_API_KEY"
    ) as failed:
        choose(f"openai:m@{secret}", environ={})
    assert "pass@" not in str(failed.value)
    assert "=pass" not in str(failed.value)


def test_the_line_holds_no_key() -> None:
    environ = {"OPENAI_API_KEY": "b" * 20}
    with pytest.raises(AgentError, match="no place for a key") as caught:
        choose("openai:sk-proj-0123456789abcdefgh", environ=environ)
    assert "0123456789" not in str(caught.value)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_proxy_with_a_password_is_still_found(provider: str, tmp_path: Path) -> None:
    """It is taken out of the process's environment, where the clients would look for it."""
    with ModelServer(["said"], key="k" * 20) as server:
        proxy = server.url.replace("http://", "http://user:marked-password@")
        base = {"OPENAI_BASE_URL": "http://model.example/v1", "ANTHROPIC_BASE_URL": "http://model.example"}
        keys = {"OPENAI_API_KEY": "k" * 20, "ANTHROPIC_API_KEY": "k" * 20}
        once = ModelSettings(tries=1)
        model = make_model(f"{provider}:m", environ={**base, **keys, "http_proxy": proxy}, settings=once)
        with pytest.raises(CallFailed, match="no such model or address") as caught:  # the server is no real proxy
            model.ask(Request(system="", prompt="hello"))
        assert server.calls[0].path.startswith("http://model.example/")
        assert server.calls[0].headers["proxy-authorization"].startswith("Basic ")
        assert "marked" not in str(caught.value)
        aside = {**base, **keys, "http_proxy": proxy, "no_proxy": "model.example"}
        with pytest.raises(CallFailed, match="connection failed"):
            make_model(f"{provider}:m", environ=aside, settings=once).ask(Request(system="", prompt="hello"))
        assert len(server.calls) == 1


def test_prices_know_dated_names_and_long_prompts() -> None:
    assert price_of("claude-sonnet-4-5-20250929", PRICES) == PRICES["claude-sonnet-4-5"]
    assert price_of("gpt-4o-2024-08-06", OPENAI_PRICES) == OPENAI_PRICES["gpt-4o"]
    assert price_of("llama", OPENAI_PRICES) is None
    price = PRICES["claude-haiku-5-5"]
    assert price.dollars(Usage(tokens_in=100_000)) == pytest.approx(0.01)
    assert price.dollars(Usage(tokens_in=100_001)) is None
    for name in DEFAULT_NAMES.values():
        assert name in {**PRICES, **OPENAI_PRICES}


def test_cached_tokens_are_cheaper_and_written_ones_dearer() -> None:
    price = PRICES["claude-sonnet-5-5"]
    plain = price.dollars(Usage(tokens_in=1000))
    cached = price.dollars(Usage(tokens_in=1000, tokens_cached=900))
    written = price.dollars(Usage(tokens_in=1000, tokens_cache_written=900))
    assert plain is not None
    assert cached is not None
    assert written is not None
    assert cached < plain < written


def test_patience_is_set_in_the_environment() -> None:
    environ = {"SAE_AGENT_MODEL_TRIES": "2", "SAE_AGENT_MODEL_WAIT": "0.5", "SAE_AGENT_MODEL_TIMEOUT": "7"}
    settings = ModelSettings.from_environment(environ)
    assert (settings.tries, settings.first_wait, settings.read_timeout) == (2, 0.5, 7.0)
    for value in ("no", "0", "-1", "nan"):
        with pytest.raises(AgentError, match="SAE_AGENT_MODEL_WAIT"):
            ModelSettings.from_environment({"SAE_AGENT_MODEL_WAIT": value})


def test_importing_and_replaying_loads_no_client(tmp_path: Path) -> None:
    script = tmp_path / "s.jsonl"
    script.write_text(json.dumps({"reply": "hello"}) + "\n")
    code = (
        "import sys; from agent.models import make_model, Request; "
        f"reply = make_model('replay:{script}', environ={{}}).ask(Request('s', 'p')); "
        "assert reply.text == 'hello'; "
        "sys.exit(any(name in sys.modules for name in ('openai', 'anthropic', 'httpx', 'httpx2', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
