"""Asking until a whole reply is there: which faults are worth another try, and how long to wait before it."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from agent.base.errors import AgentError
from agent.base.keys import scrub
from agent.models.base import CallFailed, ContextTooLong, Finish, Reply, Request
from agent.models.prices import Price, Usage

log = logging.getLogger(__name__)

CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True)
class ModelSettings:
    """The patience of the clients. All times are in seconds.

    Attributes:
        tries: calls made for one reply before giving up.
        first_wait: the wait before the second try; doubled for each further one, less up to half of it at random.
        longest_wait: no wait of our own choice is longer.
        longest_retry_after: a server that asks for a longer wait is not waited for.
        connect_timeout: for opening the connection.
        read_timeout: for the silence between two pieces of a reply.
        call_timeout: for one whole reply.
        sleep, chance, clock: what waits, what draws from [0, 1), what tells the time (for tests).
        listen: called with the length of the reply so far, in characters, for a sign of life on the screen.
    """

    tries: int = 6
    first_wait: float = 1.0
    longest_wait: float = 60.0
    longest_retry_after: float = 600.0
    connect_timeout: float = 20.0
    read_timeout: float = 180.0
    call_timeout: float = 1800.0
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random
    clock: Callable[[], float] = time.monotonic
    listen: Callable[[int], None] | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> ModelSettings:
        """The defaults, changed by SAE_AGENT_MODEL_TRIES, SAE_AGENT_MODEL_WAIT (the first wait) and
        SAE_AGENT_MODEL_TIMEOUT (the silence allowed).

        Raises:
            AgentError: when one of them is not a number above 0.
        """
        values: dict[str, Any] = {}
        for variable, name, kind in (
            ("SAE_AGENT_MODEL_TRIES", "tries", int),
            ("SAE_AGENT_MODEL_WAIT", "first_wait", float),
            ("SAE_AGENT_MODEL_TIMEOUT", "read_timeout", float),
        ):
            text = environ.get(variable)
            if not text:
                continue
            try:
                values[name] = kind(text)
            except ValueError:
                values[name] = 0
            if not values[name] > 0:
                raise AgentError(f"{variable} is {text!r}: give a number above 0")
        return cls(**values)


class Transient(Exception):
    """A fault that another try may not meet; `retry_after` is the wait in seconds that the server asked for."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


@dataclass
class Answer:
    """A reply while it comes in: one a try."""

    settings: ModelSettings
    pieces: list[str] = field(default_factory=list)
    usage: Usage | None = None
    finish: Finish | None = None

    def __post_init__(self) -> None:
        self._length = 0
        self._deadline = self.settings.clock() + self.settings.call_timeout

    def add(self, text: str) -> None:
        """Take one more piece of the text."""
        self.pieces.append(text)
        self._length += len(text)
        if self.settings.listen is not None:
            self.settings.listen(self._length)

    def check_time(self) -> None:
        """To be called for every piece, empty ones too: a server that only keeps the line open is left.

        Raises:
            Transient: when the whole reply takes too long.
        """
        if self.settings.clock() > self._deadline:
            raise Transient(f"no whole reply within {self.settings.call_timeout:.0f} s")

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def used(self, request: Request) -> Usage:
        """The usage that the server reported, or an estimate from the lengths of the texts."""
        output = -(-self._length // CHARACTERS_PER_TOKEN)
        if self.usage is None:
            asked = len(request.system) + len(request.prompt)
            return Usage(tokens_in=-(-asked // CHARACTERS_PER_TOKEN), tokens_out=output, estimated=True)
        if self.finish is None and self.usage.tokens_out < output:
            return replace(self.usage, tokens_out=output, estimated=True)
        return self.usage


def ask_patiently(
    attempt: Callable[[Answer], None], request: Request, *, name: str, price: Price | None, settings: ModelSettings
) -> Reply:
    """Try until a whole, non-empty reply is there.

    Args:
        attempt: makes one call and fills the answer; raises `Transient` for a fault worth another try, `CallFailed`
            for any other.
        request: what is asked, for estimates.
        name: who is asked, for messages and the reply.
        price: for the cost; None when unknown.
        settings: how often, and how long to wait.

    Raises:
        CallFailed: when no try succeeded, or none can; its `cost` says what was used.
    """
    started = settings.clock()
    lost = Usage()
    lost_dollars: float | None = 0.0

    def reply_of(answer: Answer | None, tries: int) -> Reply:
        used = answer.used(request) if answer is not None else Usage()
        return Reply(
            text=answer.text if answer is not None else "",
            tokens_in=used.tokens_in,
            tokens_out=used.tokens_out,
            tokens_cached=used.tokens_cached,
            dollars=_sum(lost_dollars, _dollars(price, used)),
            seconds=settings.clock() - started,
            tries=tries,
            finish=(answer.finish if answer is not None else None) or "stop",
            model=name,
            tokens_lost=lost.tokens_in + lost.tokens_out,
            estimated=used.estimated or lost.estimated,
        )

    for number in range(1, settings.tries + 1):
        answer = Answer(settings)
        try:
            attempt(answer)
            _check_whole(answer, name)
            return reply_of(answer, number)
        except Transient as fault:
            if answer.pieces or answer.usage is not None:
                lost += answer.used(request)
                lost_dollars = _sum(lost_dollars, _dollars(price, answer.used(request)))
            wait = _wait(number, fault, settings)
            if number == settings.tries:
                raise CallFailed(
                    f"{name}: no reply after {number} {'try' if number == 1 else 'tries'} ({fault}); resume later "
                    "or with another --model",
                    reply_of(None, number),
                ) from fault
            if wait > settings.longest_retry_after:
                raise CallFailed(
                    f"{name}: {fault}, and the server asks to wait {wait:.0f} s; resume after that",
                    reply_of(None, number),
                ) from fault
            log.warning("%s: %s; try %d of %d in %.1f s", name, fault, number + 1, settings.tries, wait)
            settings.sleep(wait)
        except CallFailed as failure:
            spent = answer if answer.pieces or answer.usage is not None else None
            failure.cost = replace(reply_of(spent, number), text="")
            raise
    raise AssertionError("the last try returns or raises")


def _sum(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first + second


def _dollars(price: Price | None, usage: Usage) -> float | None:
    if usage == Usage():
        return 0.0
    return price.dollars(usage) if price is not None else None


def _check_whole(answer: Answer, name: str) -> None:
    if answer.finish is None:
        raise Transient("the stream broke off")
    if answer.text.strip():
        return
    if answer.finish == "length":
        raise CallFailed(
            f"{name}: all tokens allowed for the reply went without a word written (hidden reasoning counts): "
            "allow longer replies or take another --model",
            Reply(text=""),
        )
    raise Transient("the reply was empty")


def _wait(number: int, fault: Transient, settings: ModelSettings) -> float:
    longest = min(settings.longest_wait, settings.first_wait * 2.0 ** (number - 1))
    own = longest * (1.0 - settings.chance() / 2.0)
    if fault.retry_after is None:
        return own
    # Never earlier than asked; a little later, so that many campaigns do not all come back at once.
    return fault.retry_after + settings.chance() * min(settings.first_wait, 0.1 * fault.retry_after)


def retry_after(headers: Mapping[str, str], *, now: datetime | None = None) -> float | None:
    """The wait in seconds that a response asks for: `retry-after-ms`, or `retry-after` in seconds or as a date.

    Args:
        headers: the response's, with case-blind names.
        now: the time that a date is compared with.
    """
    milliseconds = headers.get("retry-after-ms")
    if milliseconds:
        try:
            return max(0.0, float(milliseconds) / 1000.0)
        except ValueError:
            pass
    value = headers.get("retry-after")
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())


RETRIED_STATUSES = frozenset({408, 409, 425, 429})
_TRANSIENT_KINDS = ("overloaded", "rate_limit", "api_error", "server_error", "timeout", "internal")
_NO_MONEY = ("insufficient_quota", "billing", "credit balance", "spend_limit", "payment")
_TOO_LONG = (
    "context_length_exceeded",
    "prompt is too long",
    "maximum context length",
    "exceed context window",
    "exceeds the available context",
    "exceed_context_size",
    "context window",
    "too many tokens",
    "input is too long",
)


def fault_of(
    status: int, kind: str, message: str, headers: Mapping[str, str], *, name: str, key_name: str
) -> Transient | CallFailed:
    """Classify an error response.

    Args:
        status: the HTTP status; 200 for an error that came inside a stream.
        kind: the provider's own word for the error; may be empty.
        message: the provider's text.
        headers: the response's, with case-blind names.
        name: who was asked.
        key_name: the environment variable of the key, to be named when the key is refused.

    Returns:
        the exception to raise.
    """
    told = f"{kind} {message}".lower()
    said = _short(message)
    nothing = Reply(text="")
    if status == 413 or (status not in RETRIED_STATUSES and any(words in told for words in _TOO_LONG)):
        return ContextTooLong(
            f"{name}: the prompt is too long for its context window ({said}); take a model with a larger one", nothing
        )
    if status in (401, 403):
        what = "refused the key" if status == 401 else "does not allow this call"
        return CallFailed(f"{name} {what} ({status}): set {key_name} to a key that is valid for it", nothing)
    if status == 402 or any(words in told for words in _NO_MONEY):
        return CallFailed(f"{name}: the account has no credit left ({said}); top it up, then resume", nothing)
    if status == 404:
        return CallFailed(f"{name}: no such model or address (404: {said}); see --model", nothing)
    if status in RETRIED_STATUSES or status >= 500:
        return Transient(f"HTTP {status}", retry_after(headers))
    if status < 400 and (not kind or any(word in kind for word in _TRANSIENT_KINDS)):
        return Transient(f"an error inside the stream ({_short(kind) or said})", retry_after(headers))
    return CallFailed(f"{name} refused the request ({status}: {said})", nothing)


def declined(name: str) -> CallFailed:
    """The exception for a model that will not answer this prompt: asking again would only cost more."""
    return CallFailed(f"{name} declined to answer this prompt: reword the idea or take another --model", Reply(text=""))


def _short(message: str, longest: int = 200) -> str:
    line = " ".join(scrub(message).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"
