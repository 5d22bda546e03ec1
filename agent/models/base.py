"""The vocabulary of the models: a request, a reply, and anything that turns the one into the other."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal, Protocol

from agent.base.errors import AgentError

Finish = Literal["stop", "length"]


class BudgetExceeded(AgentError):
    """A budget in dollars or tokens is used up: no further call was made. The loop stops cleanly on it."""


@dataclass(frozen=True)
class Request:
    """One question to a model.

    Attributes:
        system: the fixed part of the prompt, the same in every turn, so that a provider can cache it.
        prompt: the part that changes from turn to turn.
        max_tokens: the longest reply allowed, in tokens, hidden reasoning included; the provider's default when None.
        stop: texts at which the model stops writing.
        purpose: what the call is for ("propose", "repair", "writeup" …), kept in the transcript.
    """

    system: str
    prompt: str
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    purpose: str = "propose"

    @property
    def fingerprint(self) -> str:
        """A hash of everything that a model would see; the purpose is not part of it."""
        parts = [self.system, self.prompt, self.max_tokens, list(self.stop)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Reply:
    """An answer and its cost.

    Attributes:
        text: the whole reply; never a part of a broken stream.
        tokens_in: input tokens, the cached ones included.
        tokens_out: output tokens.
        tokens_cached: those of the input tokens that the provider read from its cache.
        dollars: the cost, with that of broken tries as far as it was reported; None where the price is unknown.
        seconds: from the first try to the last word, waits included.
        tries: calls made until this reply came whole (1: no retry); 0 for a reply that cost no call.
        finish: "length" when the reply was cut at `max_tokens`, else "stop".
        model: who answered, as in the transcript.
        tokens_lost: tokens of tries that broke off, as far as they were reported.
        estimated: True when the server gave no token counts and they come from the lengths of the texts.
        call: the number of the line in the transcript; 0 when the call was not recorded.
        recorded: True when the transcript answered and no call was made.
    """

    text: str
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    dollars: float | None = 0.0
    seconds: float = 0.0
    tries: int = 1
    finish: Finish = "stop"
    model: str = ""
    tokens_lost: int = 0
    estimated: bool = False
    call: int = 0
    recorded: bool = False


class CallFailed(AgentError):
    """No whole reply could be had; `cost` says what the tries used all the same (its text is empty)."""

    def __init__(self, message: str, cost: Reply) -> None:
        super().__init__(message)
        self.cost = cost


class ContextTooLong(CallFailed):
    """The prompt does not fit into the model's context window, so trying again cannot help."""


class Model(Protocol):
    """Who answers. `name` is what the transcript and the screen call it."""

    @property
    def name(self) -> str: ...

    def ask(self, request: Request) -> Reply:
        """Answer one request.

        Raises:
            AgentError: when no whole reply can be had; the message is one line that says what to do.
        """
        ...
