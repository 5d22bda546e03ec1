"""OpenAI's models, and any server that speaks its chat completions: vLLM, llama.cpp, Ollama."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agent.models.base import CallFailed, Finish, Reply, Request
from agent.models.prices import Price, Usage, price_of
from agent.models.provider import Provider, is_at, proxy_to, read_key, shown_url
from agent.models.retry import Answer, ModelSettings, Transient, ask_patiently, declined, fault_of

if TYPE_CHECKING:
    import openai

KEY_NAME = "OPENAI_API_KEY"
COMPATIBLE_KEY_NAME = "OPENAI_COMPATIBLE_API_KEY"
OWN_URL = "https://api.openai.com/v1"
_FINISHES: dict[str, Finish] = {"length": "length"}


def _long(tokens_in: float, tokens_out: float, cached: float, cache_write: float | None = None) -> Price:
    return Price(tokens_in, tokens_out, cached, tokens_in if cache_write is None else cache_write, up_to=272_000)


PRICES_READ_ON = "2026-11-05"
PRICES: dict[str, Price] = {
    "gpt-6.1-sol": _long(2.00, 10.00, 0.10, 2.50),
    "gpt-6-sol": _long(2.00, 10.00, 0.20, 2.50),
    "gpt-6-luna": _long(0.10, 0.50, 0.01, 0.125),
    "gpt-5.4": _long(2.50, 15.00, 0.25),
    "gpt-5.4-mini": _long(0.75, 4.50, 0.075),
    "gpt-5.2": _long(1.75, 14.00, 0.175),
    "gpt-5.1": _long(1.25, 10.00, 0.125),
    "gpt-5": _long(1.25, 10.00, 0.125),
    "gpt-5-mini": _long(0.25, 2.00, 0.025),
    "gpt-5-nano": _long(0.05, 0.40, 0.005),
    "gpt-4.1": _long(2.00, 8.00, 0.50),
    "gpt-4.1-mini": _long(0.40, 1.60, 0.10),
    "gpt-4o": _long(2.50, 10.00, 1.25),
    "gpt-4o-mini": _long(0.15, 0.60, 0.075),
}


class OpenAIModel:
    """A model behind the chat completions interface, asked through the official client, streaming."""

    def __init__(
        self,
        name: str,
        *,
        api_key: str,
        base_url: str = "",
        key_name: str = KEY_NAME,
        proxy: str = "",
        settings: ModelSettings | None = None,
    ) -> None:
        """Nothing is sent yet.

        Args:
            name: the model's name at the server.
            api_key: the key to send; for a compatible server that needs none, an empty text.
            base_url: the server's address, up to and with `/v1`; OpenAI's own when empty.
            key_name: the variable that the key came from, to be named when the server refuses it.
            proxy: the way there, where `os.environ` does not tell it.
            settings: patience; the defaults when None.
        """
        self._model = name
        self._key_name = key_name
        self._key = api_key
        self._base_url = base_url
        self._own = is_at(base_url, OWN_URL)
        self._proxy = proxy
        self._settings = settings or ModelSettings()
        self._price = price_of(name, PRICES)
        self._client: openai.OpenAI | None = None

    @property
    def name(self) -> str:
        return f"openai:{self._model}" + (f"@{shown_url(self._base_url)}" if self._base_url else "")

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
        import httpx2
        import openai

        try:
            if not self._stream(request, answer):
                self._ask_whole(request, answer)
        except openai.APIStatusError as error:
            raise self._fault(error.status_code, error, error.response.headers) from error
        except openai.APITimeoutError as error:
            raise Transient(f"no word for {self._settings.read_timeout:g} s") from error
        except openai.APIConnectionError as error:
            raise Transient(f"the connection failed ({_cause(error)})") from error
        except openai.APIError as error:
            raise self._fault(200, error, {}) from error
        except httpx2.TimeoutException as error:
            raise Transient(f"no word for {self._settings.read_timeout:g} s") from error
        except httpx2.HTTPError as error:
            raise Transient(f"the stream broke off ({type(error).__name__})") from error
        except UnicodeError as error:
            raise CallFailed(f"{self.name}: the prompt holds text that is not Unicode", Reply(text="")) from error
        except (ValueError, TypeError, AttributeError) as error:
            raise Transient(f"the server sent something malformed ({type(error).__name__})") from error

    def _stream(self, request: Request, answer: Answer) -> bool:
        """Take in a streamed reply; False when a compatible server opened a stream and ended it without a word."""
        import httpx2
        import openai

        heard = False
        with self._connected().chat.completions.create(**self._arguments(request)) as stream:
            try:
                for chunk in stream:
                    heard = True
                    answer.check_time()
                    _take(chunk, answer, self.name)
            except (openai.APIConnectionError, httpx2.HTTPError) as error:
                timed_out = isinstance(error, openai.APITimeoutError | httpx2.TimeoutException)
                if heard or timed_out or self._own:
                    raise
        return heard or self._own

    def _ask_whole(self, request: Request, answer: Answer) -> None:
        """Ask without streaming: some servers answer a streamed call that they refuse with a stream of nothing."""
        arguments = {name: value for name, value in self._arguments(request).items() if not name.startswith("stream")}
        # Such a server drops the connection a little later, so it is not used again.
        self._connected().close()
        self._client = None
        whole = self._connected().chat.completions.create(**arguments)
        answer.usage = _usage(whole.usage)
        for choice in whole.choices[:1]:
            answer.add(choice.message.content or "")
            answer.finish = _FINISHES.get(choice.finish_reason, "stop")

    def _arguments(self, request: Request) -> dict[str, Any]:
        messages = [{"role": "user", "content": request.prompt}]
        if request.system:
            messages.insert(0, {"role": "system", "content": request.system})
        arguments: dict[str, Any] = {
            "model": self._model,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if request.max_tokens is not None:
            # OpenAI's reasoning models know only the newer name, most compatible servers only the older one.
            arguments["max_completion_tokens" if self._own else "max_tokens"] = request.max_tokens
        if request.stop:
            arguments["stop"] = list(request.stop)
        return arguments

    def _connected(self) -> openai.OpenAI:
        import httpx2
        import openai

        if self._client is None:
            settings = self._settings
            timeout = httpx2.Timeout(settings.read_timeout, connect=settings.connect_timeout)
            # A foreign server gets neither OpenAI's key nor the account's other marks.
            marks: dict[str, Any] = {} if self._own else dict.fromkeys(_ACCOUNT_HEADERS, openai.Omit())
            self._client = openai.OpenAI(
                api_key=self._key or "none",
                base_url=self._base_url or OWN_URL,
                max_retries=0,
                timeout=timeout,
                http_client=openai.DefaultHttpxClient(proxy=self._proxy, timeout=timeout) if self._proxy else None,
                default_headers=marks,
            )
        return self._client

    def _fault(self, status: int, error: openai.APIError, headers: Any) -> Exception:
        kind = " ".join(part for part in (error.code, error.type) if isinstance(part, str))
        told = error.body.get("message") if isinstance(error.body, dict) else None
        message = told if isinstance(told, str) else error.message
        return fault_of(status, kind, message, headers, name=self.name, key_name=self._key_name)


_ACCOUNT_HEADERS = ("OpenAI-Organization", "OpenAI-Project")


def _cause(error: BaseException) -> str:
    return type(error.__cause__ or error).__name__


def _take(chunk: openai.types.chat.ChatCompletionChunk, answer: Answer, name: str) -> None:
    if chunk.usage is not None:
        answer.usage = _usage(chunk.usage)
    for choice in chunk.choices or []:
        if choice.delta.content:
            answer.add(choice.delta.content)
        if choice.finish_reason == "content_filter":
            raise declined(name)
        if choice.finish_reason:
            answer.finish = _FINISHES.get(choice.finish_reason, "stop")


def _usage(usage: openai.types.CompletionUsage | None) -> Usage | None:
    if usage is None:
        return None
    details = usage.prompt_tokens_details
    return Usage(
        tokens_in=usage.prompt_tokens,
        tokens_out=usage.completion_tokens,
        tokens_cached=(details.cached_tokens or 0) if details is not None else 0,
        tokens_cache_written=(getattr(details, "cache_write_tokens", None) or 0) if details is not None else 0,
    )


def _make(name: str, base_url: str, environ: Mapping[str, str], settings: ModelSettings) -> OpenAIModel:
    key_name = KEY_NAME if is_at(base_url, OWN_URL) else COMPATIBLE_KEY_NAME
    # OPENAI_BASE_URL is OpenAI's own variable: who sets it means it to go with OPENAI_API_KEY.
    base_url = base_url or environ.get("OPENAI_BASE_URL", "")
    key, proxy = read_key(environ, key_name), proxy_to(environ, base_url or OWN_URL)
    return OpenAIModel(name, api_key=key, base_url=base_url, key_name=key_name, proxy=proxy, settings=settings)


PROVIDER = Provider(
    OWN_URL,
    KEY_NAME,
    default_name="gpt-6.1-sol",
    library="openai",
    make=_make,
    other_key_name=COMPATIBLE_KEY_NAME,
)
