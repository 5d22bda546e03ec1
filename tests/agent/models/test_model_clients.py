"""The real clients against a real local server that fails in every way that servers do."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from agent.base.errors import AgentError
from agent.models import CallFailed, ContextTooLong, Model, ModelSettings, Request, make_model
from agent.models.anthropic import PRICES as ANTHROPIC_PRICES
from agent.models.openai import PRICES as OPENAI_PRICES
from tests.servers.model_server import Fault, ModelServer, count_tokens, fault

REPLY = "notes first\n\nexperiment.py\n<<<<<<< SEARCH\nold\n=======\nnew\n>>>>>>> REPLACE\n"
KEY = "sk-ant-marked-0123456789"
REQUEST = Request("the fixed part of the prompt", "the part that changes")
PROVIDERS = ("openai", "anthropic")
NAMES = {"openai": "gpt-5.4", "anthropic": "claude-sonnet-5-5"}


def connect(provider: str, server: ModelServer, settings: ModelSettings) -> Model:
    environ = {
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": server.url,
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": server.openai_url,
    }
    return make_model(f"{provider}:{NAMES[provider]}", environ=environ, settings=settings)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_call_is_streamed_counted_and_priced(provider: str, settings: ModelSettings) -> None:
    lengths: list[int] = []
    heard = replace(settings, listen=lengths.append)
    with ModelServer([REPLY]) as server:
        reply = connect(provider, server, heard).ask(REQUEST)
    (call,) = server.calls
    price = {**ANTHROPIC_PRICES, **OPENAI_PRICES}[NAMES[provider]]
    assert reply.text == REPLY
    assert reply.finish == "stop"
    assert (reply.tries, reply.tokens_lost, reply.estimated) == (1, 0, False)
    assert reply.tokens_out == count_tokens(REPLY)
    assert reply.seconds > 0
    assert call.body["stream"] is True
    assert call.key == KEY
    assert (call.system, call.prompt) == (REQUEST.system, REQUEST.prompt)
    assert lengths == sorted(lengths)
    assert lengths[-1] == len(REPLY)
    fixed = count_tokens(REQUEST.system) if provider == "anthropic" else 0
    fresh = reply.tokens_in - fixed
    expected = fresh * price.tokens_in + fixed * price.cache_write + reply.tokens_out * price.tokens_out
    assert reply.dollars == pytest.approx(expected / 1e6)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_fixed_part_is_cached(provider: str, settings: ModelSettings) -> None:
    with ModelServer([REPLY]) as server:
        model = connect(provider, server, settings)
        first, second = model.ask(REQUEST), model.ask(Request(REQUEST.system, "another part"))
    assert first.tokens_cached == 0
    assert second.tokens_cached == count_tokens(REQUEST.system)
    assert second.dollars is not None
    assert first.dollars is not None
    assert second.dollars < first.dollars


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "name",
    ["408", "409", "429", "429@2", "500", "503", "529", "cut", "end", "empty", "malformed", "stream_error", "drop"],
)
def test_a_passing_fault_is_retried_and_the_reply_is_whole(
    provider: str, name: str, settings: ModelSettings, waits: list[float]
) -> None:
    with ModelServer([REPLY], [fault(name)]) as server:
        reply = connect(provider, server, settings).ask(REQUEST)
    assert reply.text == REPLY
    assert (reply.tries, len(server.calls)) == (2, 2)
    assert waits == [2.0] if name == "429@2" else [1.0]
    paid = name in ("cut", "end", "empty", "malformed", "stream_error")
    assert (reply.tokens_lost > 0) == paid


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_stall_ends_at_the_time_out(provider: str, settings: ModelSettings) -> None:
    # On a busy machine an answer that comes at once may come too late, too.
    hurried = replace(settings, read_timeout=0.4, tries=100)
    with ModelServer([REPLY], [Fault("stall", seconds=3600.0)]) as server:
        reply = connect(provider, server, hurried).ask(REQUEST)
    assert reply.text == REPLY
    assert reply.tries == len(server.calls) >= 2
    assert reply.seconds < settings.read_timeout, "it is the time-out that was set, not the usual one"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_slow_server_that_keeps_the_line_open_is_left(provider: str, settings: ModelSettings) -> None:
    ticks = iter(range(0, 10_000, 50))
    hurried = replace(settings, call_timeout=60.0, clock=lambda: float(next(ticks)))
    with ModelServer([REPLY]) as server, pytest.raises(CallFailed, match="no whole reply within 60 s"):
        connect(provider, server, hurried).ask(REQUEST)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_wait_grows_and_then_it_gives_up(provider: str, settings: ModelSettings, waits: list[float]) -> None:
    plan = [fault("500"), fault("cut"), fault("empty")]
    with ModelServer([REPLY], plan) as server, pytest.raises(CallFailed, match="no reply after 3 tries") as failed:
        connect(provider, server, settings).ask(REQUEST)
    assert len(server.calls) == 3
    assert waits == [1.0, 2.0]
    assert "\n" not in str(failed.value)
    assert failed.value.cost.text == ""
    assert failed.value.cost.tokens_lost > 0
    assert failed.value.cost.dollars


@pytest.mark.parametrize("provider", PROVIDERS)
def test_retry_after_may_be_a_date_or_milliseconds(provider: str, settings: ModelSettings, waits: list[float]) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    plan = [
        Fault("status", 429, headers=(("retry-after", date),)),
        Fault("status", 429, headers=(("retry-after-ms", "1500"), ("retry-after", "9"))),
    ]
    with ModelServer([REPLY], plan) as server:
        connect(provider, server, settings).ask(REQUEST)
    assert 25 < waits[0] <= 31
    assert waits[1] == 1.5


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_wait_of_an_hour_is_not_waited_for(provider: str, settings: ModelSettings, waits: list[float]) -> None:
    with ModelServer([REPLY], [fault("429@3600")]) as server, pytest.raises(CallFailed, match="wait 3600 s"):
        connect(provider, server, settings).ask(REQUEST)
    assert waits == []


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refusal_is_not_retried_and_never_shows_the_key(
    provider: str, status: int, settings: ModelSettings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    plan = [Fault("status", status, message="wrong key {key} for this", error="invalid_request_error")]
    with ModelServer([REPLY], plan) as server, pytest.raises(CallFailed) as failed:
        connect(provider, server, settings).ask(REQUEST)
    assert len(server.calls) == 1
    told = str(failed.value)
    assert "\n" not in told
    assert KEY not in told
    if status in (401, 403):
        assert f"{provider.upper()}_API_KEY" in told


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("kind", ["stream_error", "status"])
def test_a_type_of_error_never_shows_the_key_either(provider: str, kind: str, settings: ModelSettings) -> None:
    planned = Fault(kind, 500, (("x-key", "{key}"),), message="{key}", error="server_error_{key}")
    with ModelServer([REPLY], [planned] * 3) as server, pytest.raises(CallFailed) as caught:
        connect(provider, server, settings).ask(REQUEST)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_no_credit_is_not_retried(provider: str, settings: ModelSettings) -> None:
    plan = [Fault("status", 429, message="you exceeded your quota", error="insufficient_quota")]
    with ModelServer([REPLY], plan) as server, pytest.raises(CallFailed, match="no credit left"):
        connect(provider, server, settings).ask(REQUEST)
    assert len(server.calls) == 1


@pytest.mark.parametrize("provider", PROVIDERS)
def test_too_long_a_prompt_is_said(provider: str, settings: ModelSettings) -> None:
    with ModelServer([REPLY], [fault("context")]) as server, pytest.raises(ContextTooLong, match="too long"):
        connect(provider, server, settings).ask(REQUEST)
    assert len(server.calls) == 1


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_reply_cut_at_the_limit_says_so(provider: str, settings: ModelSettings) -> None:
    with ModelServer([REPLY]) as server:
        reply = connect(provider, server, settings).ask(Request("s", "p", max_tokens=5))
    assert reply.finish == "length"
    assert reply.text == REPLY[:20]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_all_tokens_spent_without_a_word_is_an_error(provider: str, settings: ModelSettings) -> None:
    with ModelServer([""], [fault("length")]) as server, pytest.raises(CallFailed, match="without a word"):
        connect(provider, server, settings).ask(REQUEST)
    assert len(server.calls) == 1


@pytest.mark.parametrize("provider", PROVIDERS)
def test_no_server_at_all(provider: str, settings: ModelSettings) -> None:
    with ModelServer([REPLY]) as server:
        model = connect(provider, server, settings)
    with pytest.raises(CallFailed, match="the connection failed"):
        model.ask(REQUEST)


def test_a_compatible_server_gets_no_openai_key(settings: ModelSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-marked")
    environ = {"OPENAI_API_KEY": KEY}
    with ModelServer([REPLY]) as server:
        model = make_model(f"openai:llama@{server.openai_url}", environ=environ, settings=settings)
        reply = model.ask(Request("s", "p", max_tokens=50))
        environ["OPENAI_COMPATIBLE_API_KEY"] = "its-own-key"
        make_model(f"openai:llama@{server.openai_url}", environ=environ, settings=settings).ask(REQUEST)
    first, second = server.calls
    assert reply.text == REPLY
    assert reply.dollars is None
    assert KEY not in str(first.headers)
    assert "org-marked" not in str(first.headers)
    assert second.key == "its-own-key"
    assert first.body["max_tokens"] == 50


def test_a_compatible_server_that_wants_a_key_is_named_with_its_variable(settings: ModelSettings) -> None:
    with ModelServer([REPLY], key="secret-of-the-server") as server:
        model = make_model(f"openai:llama@{server.openai_url}", environ={}, settings=settings)
        with pytest.raises(CallFailed, match="OPENAI_COMPATIBLE_API_KEY"):
            model.ask(REQUEST)


def test_a_stream_of_nothing_is_asked_again_without_streaming(settings: ModelSettings) -> None:
    with ModelServer([REPLY], [fault("silent"), None, fault("silent"), fault("context")]) as server:
        model = make_model(f"openai:llama@{server.openai_url}", environ={}, settings=settings)
        reply = model.ask(REQUEST)
        with pytest.raises(ContextTooLong):
            model.ask(REQUEST)
    assert (reply.text, reply.tries, reply.tokens_out) == (REPLY, 1, count_tokens(REPLY))
    assert [call.body.get("stream", False) for call in server.calls] == [True, False, True, False]


def test_tokens_are_estimated_where_the_server_counts_none(settings: ModelSettings) -> None:
    with ModelServer([REPLY], usage=False) as server:
        reply = make_model(f"openai:llama@{server.openai_url}", environ={}, settings=settings).ask(REQUEST)
    assert reply.estimated
    assert reply.tokens_in == count_tokens(REQUEST.system + REQUEST.prompt)
    assert reply.tokens_out == count_tokens(REPLY)


def test_a_key_that_is_no_key_is_found_before_a_call() -> None:
    with pytest.raises(AgentError, match="ANTHROPIC_API_KEY holds characters"):
        make_model("anthropic:claude-sonnet-5-5", environ={"ANTHROPIC_API_KEY": "sk-ä\n-x"})


def test_text_that_is_not_unicode_is_said_and_not_retried(settings: ModelSettings) -> None:
    with ModelServer([REPLY]) as server:
        for provider in PROVIDERS:
            with pytest.raises(CallFailed, match="not Unicode"):
                connect(provider, server, settings).ask(Request("s", "half a pair: \ud83d"))
    assert server.calls == []
