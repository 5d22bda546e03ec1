"""Anthropic's models, asked through the official client: streaming, with the fixed part of the prompt cached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agent.models.base import CallFailed, Finish, Reply, Request
from agent.models.prices import Price, Usage, price_of
from agent.models.provider import Provider, proxy_to, read_key
from agent.models.retry import Answer, ModelSettings, Transient, ask_patiently, declined, fault_of

if TYPE_CHECKING:
    import anthropic

KEY_NAME = "ANTHROPIC_API_KEY"
DEFAULT_MAX_TOKENS = 32_000
OWN_URL = "https://api.anthropic.com"
PRICES_READ_ON = "2026-11-05"
PRICES: dict[str, Price] = {
    "claude-fable-5-1": Price(10.00, 50.00, 0.25, 12.50),
    "claude-opus-5-5": Price(4.00, 20.00, 0.20, 5.00),
    "claude-opus-5": Price(5.00, 25.00, 0.50, 6.25),
    "claude-opus-4-8": Price(5.00, 25.00, 0.50, 6.25),
    "claude-opus-4-7": Price(5.00, 25.00, 0.50, 6.25),
    "claude-opus-4-6": Price(5.00, 25.00, 0.50, 6.25),
    "claude-opus-4-5": Price(5.00, 25.00, 0.50, 6.25),
    "claude-sonnet-5-5": Price(2.00, 10.00, 0.10, 2.50),
    "claude-sonnet-5": Price(2.00, 10.00, 0.20, 2.50),
    "claude-sonnet-4-6": Price(3.00, 15.00, 0.30, 3.75),
    "claude-sonnet-4-5": Price(3.00, 15.00, 0.30, 3.75, up_to=200_000),
    "claude-haiku-5-5": Price(0.10, 0.50, 0.01, 0.125, up_to=100_000),
    "claude-haiku-4-5": Price(1.00, 5.00, 0.10, 1.25),
}
_FINISHES: dict[str, Finish] = {"max_tokens": "length", "model_context_window_exceeded": "length"}


class AnthropicModel:
    """A model behind Anthropic's messages interface."""

    def __init__(
        self, name: str, *, api_key: str, base_url: str = "", proxy: str = "", settings: ModelSettings | None = None
    ) -> None:
        """Nothing is sent yet.

        Args:
            name: the model's name, such as `claude-sonnet-5-5`.
            api_key: the key to send.
            base_url: another address than Anthropic's (`ANTHROPIC_BASE_URL`); its own when empty.
            proxy: the way there, where `os.environ` does not tell it.
            settings: patience; the defaults when None.
        """
        self._model = name
        self._key = api_key
        self._base_url = base_url
        self._proxy = proxy
        self._settings = settings or ModelSettings()
        self._price = price_of(name, PRICES)
        self._client: anthropic.Anthropic | None = None

    @property
    def name(self) -> str:
        return f"anthropic:{self._model}"

    @property
    def price_known(self) -> bool:
        return self._price is not None

    def ask(self, request: Request) -> Reply:
        """See `Model.ask`; faults are met as `retry.ask_patiently` says.

        Raises:
            CallFailed: when no whole reply could be had (`ContextTooLong` when the prompt is too long).
        """
        return ask_patiently(
            lambda answer: self._attempt(request, answer),
            request,
            name=self.name,
            price=self._price,
            settings=self._settings,
        )

    def _attempt(self, request: Request, answer: Answer) -> None:
        import anthropic
        import httpx2

        finish: Finish | None = None
        try:
            with self._connected().messages.create(**self._arguments(request)) as stream:
                for event in stream:
                    answer.check_time()
                    finish = _take(event, answer, self.name) or finish
                    if event.type == "message_stop":
                        # Only now is the reply whole; a finish reason alone may come before a cut.
                        answer.finish = finish or "stop"
        except anthropic.APIStatusError as error:
            raise self._fault(error) from error
        except (anthropic.APITimeoutError, httpx2.TimeoutException) as error:
            raise Transient(f"no word for {self._settings.read_timeout:g} s") from error
        except anthropic.APIConnectionError as error:
            raise Transient(f"the connection failed ({type(error.__cause__ or error).__name__})") from error
        except (anthropic.APIError, httpx2.HTTPError) as error:
            raise Transient(f"the stream broke off ({type(error).__name__})") from error
        except UnicodeError as error:
            raise CallFailed(f"{self.name}: the prompt holds text that is not Unicode", Reply(text="")) from error
        except (ValueError, TypeError, AttributeError) as error:
            raise Transient(f"the server sent something malformed ({type(error).__name__})") from error

    def _arguments(self, request: Request) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "model": self._model,
            "max_tokens": DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens,
            "messages": [{"role": "user", "content": request.prompt}],
            "stream": True,
        }
        if request.system:
            fixed = {"type": "text", "text": request.system, "cache_control": {"type": "ephemeral"}}
            arguments["system"] = [fixed]
        if request.stop:
            arguments["stop_sequences"] = list(request.stop)
        return arguments

    def _connected(self) -> anthropic.Anthropic:
        import anthropic
        import httpx2

        if self._client is None:
            settings = self._settings
            timeout = httpx2.Timeout(settings.read_timeout, connect=settings.connect_timeout)
            self._client = anthropic.Anthropic(
                api_key=self._key,
                base_url=self._base_url or OWN_URL,
                max_retries=0,
                timeout=timeout,
                http_client=anthropic.DefaultHttpxClient(proxy=self._proxy, timeout=timeout) if self._proxy else None,
            )
        return self._client

    def _fault(self, error: anthropic.APIStatusError) -> Exception:
        body = error.body
        inner = body.get("error") if isinstance(body, dict) else None
        told = inner if isinstance(inner, dict) else {}
        kind, message = str(told.get("type") or ""), str(told.get("message") or error.message)
        return fault_of(error.status_code, kind, message, error.response.headers, name=self.name, key_name=KEY_NAME)


def _take(event: Any, answer: Answer, name: str) -> Finish | None:
    """Take one event of the stream; returns the finish when the event tells it."""
    if event.type == "message_start":
        usage = event.message.usage
        cached, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
        # Anthropic counts the cached tokens apart from the other input tokens.
        answer.usage = Usage(usage.input_tokens + cached + written, cached, written, usage.output_tokens)
    elif event.type == "content_block_delta" and event.delta.type == "text_delta":
        answer.add(event.delta.text)
    elif event.type == "message_delta":
        if answer.usage is not None and event.usage.output_tokens is not None:
            before = answer.usage
            answer.usage = Usage(
                before.tokens_in, before.tokens_cached, before.tokens_cache_written, event.usage.output_tokens
            )
        if event.delta.stop_reason == "refusal":
            raise declined(name)
        if event.delta.stop_reason:
            return _FINISHES.get(event.delta.stop_reason, "stop")
    return None


def _make(name: str, base_url: str, environ: Mapping[str, str], settings: ModelSettings) -> AnthropicModel:
    # Anthropic's own variable: who sets it means it to go with the key.
    base_url = base_url or environ.get("ANTHROPIC_BASE_URL", "")
    proxy = proxy_to(environ, base_url or OWN_URL)
    return AnthropicModel(name, api_key=read_key(environ, KEY_NAME), base_url=base_url, proxy=proxy, settings=settings)


PROVIDER = Provider(OWN_URL, KEY_NAME, default_name="claude-sonnet-5-5", library="anthropic", make=_make)
