"""A language model that is asked to explain latents and to judge explanations: a client that the caller passes in.

`OpenAIJudge` and `AnthropicJudge` wrap the two official clients; anything with `name`, `price` and `ask` serves.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from lab.errors import LabError

if TYPE_CHECKING:
    import anthropic
    import openai

KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "compatible": "OPENAI_COMPATIBLE_API_KEY"}
_FORMS = "openai:NAME, openai:NAME@URL or anthropic:NAME"
_RETRIES = 5  # of a call that the server was too busy for, with growing pauses


@dataclass(frozen=True)
class Price:
    """US dollars for a million tokens read and a million written."""

    read: float
    written: float


class Judge(Protocol):
    """A language model as an evaluation needs it; several threads ask at once."""

    @property
    def name(self) -> str:
        """Its identity in a result's key, such as "openai:gpt-4o-mini"."""

    @property
    def price(self) -> Price | None:
        """Its price, where that is known."""

    def ask(self, system: str, user: str, max_tokens: int) -> str:
        """Its answer.

        Raises:
            LabError: there is none.
        """


@dataclass(frozen=True)
class OpenAIJudge:
    """A model behind the chat completions interface: OpenAI's or any compatible server's.

    Args:
        client: an openai.OpenAI.
        model: the model's name at the server.
        price: what it costs, where that is known.
    """

    client: openai.OpenAI
    model: str
    price: Price | None = None

    @property
    def name(self) -> str:
        """The model, and the server where it is not OpenAI's own; a user and password in its address are left out."""
        url = self.client.base_url
        place = "" if _is_own(url.host) else f"@{url.copy_with(username=None, password=None, query=None)}".rstrip("/")
        return f"openai:{self.model}{place}"

    def ask(self, system: str, user: str, max_tokens: int) -> str:
        """See `Judge.ask`."""
        import openai

        # OpenAI's reasoning models know only the newer name, most compatible servers only the older one.
        limit = "max_completion_tokens" if _is_own(self.client.base_url.host) else "max_tokens"
        messages: Any = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        options: Any = {limit: max_tokens}
        try:
            found = self.client.chat.completions.create(model=self.model, messages=messages, **options)
        except openai.OpenAIError as error:
            raise LabError(_refused(self.name, error)) from error
        return (found.choices[0].message.content or "") if found.choices else ""


@dataclass(frozen=True)
class AnthropicJudge:
    """One of Anthropic's models.

    Args:
        client: an anthropic.Anthropic.
        model: the model's name.
        price: what it costs, where that is known.
    """

    client: anthropic.Anthropic
    model: str
    price: Price | None = None

    @property
    def name(self) -> str:
        """The model."""
        return f"anthropic:{self.model}"

    def ask(self, system: str, user: str, max_tokens: int) -> str:
        """See `Judge.ask`."""
        import anthropic

        messages: Any = [{"role": "user", "content": user}]
        try:
            found = self.client.messages.create(
                model=self.model, system=system, messages=messages, max_tokens=max_tokens
            )
        except anthropic.AnthropicError as error:
            raise LabError(_refused(self.name, error)) from error
        return "".join(part.text for part in found.content if part.type == "text")


def make_judge(spec: str, price: str = "") -> Judge:
    """A judge from its name on the command line; keys come from the environment.

    Args:
        spec: "openai:NAME", "openai:NAME@URL" (a compatible server; it never gets OpenAI's key) or "anthropic:NAME".
        price: US dollars for a million tokens read and written, such as "0.15/0.60"; "" when it is not known.

    Raises:
        LabError: the name or the price cannot be read, or there is no key.
    """
    kind, _, rest = spec.partition(":")
    model, _, url = rest.partition("@")
    if kind not in ("openai", "anthropic") or not model or (kind == "anthropic" and url):
        raise LabError(f"{spec!r} names no judge: write {_FORMS}")
    cost = _price(price) if price else None
    if kind == "anthropic":
        import anthropic

        key = _key("anthropic", spec)
        return AnthropicJudge(anthropic.Anthropic(api_key=key, max_retries=_RETRIES), model, cost)
    import openai

    if url and not url.startswith(("http://", "https://")):
        raise LabError(f"{spec!r}: the server's address must begin with http:// or https://")
    key = os.environ.get(KEYS["compatible"], "none") if url else _key("openai", spec)
    base = url or "https://api.openai.com/v1"
    return OpenAIJudge(openai.OpenAI(api_key=key, base_url=base, max_retries=_RETRIES), model, cost)


def _is_own(host: str) -> bool:
    return host == "api.openai.com"


def _key(kind: str, spec: str) -> str:
    key = os.environ.get(KEYS[kind], "")
    if not key:
        raise LabError(f"{spec} needs a key: set {KEYS[kind]}")
    return key


def _price(text: str) -> Price:
    try:
        read, written = (float(part) for part in text.split("/"))
        if min(read, written) < 0:
            raise ValueError
    except ValueError as error:
        raise LabError(
            f"the price {text!r} is not two numbers, dollars a million tokens: write it as 0.15/0.60"
        ) from error
    return Price(read, written)


def _refused(name: str, error: Exception) -> str:
    """One line about a call that failed; what a server echoes of a request is left out, for a key may be in it."""
    status = getattr(error, "status_code", None)
    hints = {401: "the key was refused", 404: "it has no such model", 429: "it is too busy, or the account is empty"}
    reason = hints.get(status or 0, f"it answered {status}") if status else f"{type(error).__name__}"
    return f"{name} did not answer ({reason}): answers so far are kept, start again to go on"
