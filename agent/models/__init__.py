"""Who answers: Anthropic, OpenAI and compatible servers, or a recorded campaign."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from agent.base.errors import AgentError
from agent.base.keys import child_environment, environment, remember_keys, scrub
from agent.models.anthropic import OWN_URL as ANTHROPIC_URL
from agent.models.anthropic import AnthropicModel
from agent.models.base import BudgetExceeded, CallFailed, ContextTooLong, Model, Reply, Request
from agent.models.budget import Budget, BudgetLimits
from agent.models.openai import COMPATIBLE_KEY_NAME, OpenAIModel, is_own, shown_url
from agent.models.openai import OWN_URL as OPENAI_URL
from agent.models.recorded import Recorded
from agent.models.replay import ReplayModel, replies_used
from agent.models.retry import ModelSettings
from agent.models.transcript import Spent, Transcript

__all__ = [
    "DEFAULT_NAMES",
    "Budget",
    "BudgetExceeded",
    "BudgetLimits",
    "CallFailed",
    "Choice",
    "ContextTooLong",
    "Model",
    "ModelSettings",
    "Recorded",
    "ReplayModel",
    "Reply",
    "Request",
    "Spent",
    "Transcript",
    "child_environment",
    "choose",
    "environment",
    "make_model",
    "scrub",
]

DEFAULT_NAMES = {"anthropic": "claude-sonnet-5-5", "openai": "gpt-6.1-sol"}
KEY_NAMES = {"anthropic": "ANTHROPIC_API_KEY", "openai": "OPENAI_API_KEY"}
_FORMS = "anthropic:NAME, openai:NAME, openai:NAME@BASE_URL, replay:PATH or auto"


@dataclass(frozen=True)
class Choice:
    """The model that `--model` came to.

    Attributes:
        provider: "anthropic", "openai" or "replay".
        name: the model's name, or the path of the file to replay.
        base_url: a compatible server's address; empty for the provider's own.
        said: one line for the screen: who answers, and why.
    """

    provider: str
    name: str
    base_url: str
    said: str


def choose(spec: str, *, script: Path | None = None, environ: Mapping[str, str] | None = None) -> Choice:
    """Read a `--model` value.

    Args:
        spec: `anthropic:NAME`, `openai:NAME`, `openai:NAME@BASE_URL`, `replay:PATH` or `auto`; a provider without a
            name takes its default model.
        script: the idea's scripted campaign, the last resort of `auto`.
        environ: where keys are looked for (`keys.environment()`); `os.environ` with `.env` when None.

    Raises:
        AgentError: for a value of no such form, and for `auto` with neither a key nor a script.
    """
    environ = environment() if environ is None else environ
    if spec == "auto":
        return _choose_automatically(script, environ)
    provider, _, rest = spec.partition(":")
    if provider == "replay" and rest:
        return Choice("replay", rest, "", f"the replies of {rest} answer; no model is called")
    if provider not in DEFAULT_NAMES:
        raise AgentError(f"--model {scrub(spec)!r} is unknown: give {_FORMS}")
    name, _, base_url = rest.partition("@") if provider == "openai" else (rest, "", "")
    name = name or DEFAULT_NAMES[provider]
    if base_url and not base_url.startswith(("http://", "https://")):
        raise AgentError(f"--model {scrub(spec)!r}: the address after @ should start with http:// or https://")
    if base_url and shown_url(base_url) != base_url:
        # The address is shown and written down, so it may hold nothing secret.
        raise AgentError(
            f"the address in --model should be plain, like {shown_url(base_url)}: no user, password or query; "
            f"a key goes into {COMPATIBLE_KEY_NAME}"
        )
    if scrub(spec) != spec:
        raise AgentError(f"--model {scrub(spec)!r}: a command line is no place for a key; put it into the environment")
    if is_own(base_url) and not environ.get(KEY_NAMES[provider]):
        raise AgentError(f"--model {provider}:{name} needs a key: set {KEY_NAMES[provider]} or put it into .env")
    where = f" at {shown_url(base_url)}" if base_url else ""
    return Choice(provider, name, base_url, f"{provider}:{name}{where} answers")


def _choose_automatically(script: Path | None, environ: Mapping[str, str]) -> Choice:
    for provider, key in KEY_NAMES.items():
        if environ.get(key):
            name = DEFAULT_NAMES[provider]
            return Choice(provider, name, "", f"{provider}:{name} answers, as {key} is set")
    if script is None:
        raise AgentError(
            f"no model to ask: set {' or '.join(KEY_NAMES.values())}, or give --model {_FORMS.replace(' or auto', '')}"
        )
    said = (
        f"no key is set ({', '.join(KEY_NAMES.values())}), so no model is asked: the scripted campaign {script} answers"
    )
    return Choice("replay", str(script), "", said)


def make_model(
    spec: str = "auto",
    *,
    script: Path | None = None,
    transcript: Path | None = None,
    limits: BudgetLimits | None = None,
    start: int | None = None,
    budget: Budget | None = None,
    root: Path | None = None,
    environ: Mapping[str, str] | None = None,
    settings: ModelSettings | None = None,
    check: Callable[[], None] = lambda: None,
) -> Model:
    """Make the model that `--model` names.

    Args:
        spec: see `choose`.
        script: the idea's scripted campaign, the last resort of `auto`.
        transcript: where the calls are recorded; with None they are not, and no budget is kept.
        limits: in dollars and tokens.
        start: the last transcript line that finished turns have used (0: none yet); see `Recorded`.
        budget: the budget, where campaigns share one.
        root: the folder with `.env`; the working directory when None.
        environ: where keys are looked for, in place of the environment and `.env`.
        settings: patience with a faulty server; from the environment when None.
        check: called before each real call that is recorded; raises when the user wants to stop.

    Returns:
        the model; with a transcript it is a `Recorded` one.

    Raises:
        AgentError: for a wrong value, a missing key or script, and a budget in dollars for an unknown price.
    """
    environ = environment(root) if environ is None else environ
    remember_keys(environ)
    choice = choose(spec, script=script, environ=environ)
    record = Transcript(transcript) if transcript is not None else None
    if choice.provider == "replay":
        used = replies_used(record.lines()) if record is not None else 0
        model: Model = ReplayModel(Path(choice.name), used=used)
        price_known = True
    else:
        client = _client(choice, environ, settings or ModelSettings.from_environment(environ))
        model, price_known = client, client.price_known
    limits = budget.limits if budget is not None else limits or BudgetLimits()
    limits.check_price(model.name, known=price_known)
    if record is None:
        return model
    in_order = choice.provider == "replay"
    budget = budget or Budget(limits, [record])
    return Recorded(model, record, budget=budget, start=start, in_order=in_order, check=check)


def _client(choice: Choice, environ: Mapping[str, str], settings: ModelSettings) -> AnthropicModel | OpenAIModel:
    if choice.provider == "anthropic":
        key, base_url = _key(environ, KEY_NAMES["anthropic"]), environ.get("ANTHROPIC_BASE_URL", "")
        proxy = _proxy(environ, base_url or ANTHROPIC_URL)
        return AnthropicModel(choice.name, api_key=key, base_url=base_url, proxy=proxy, settings=settings)
    # OPENAI_BASE_URL is OpenAI's own variable: who sets it means it to go with OPENAI_API_KEY.
    own = is_own(choice.base_url)
    key_name = KEY_NAMES["openai"] if own else COMPATIBLE_KEY_NAME
    base_url = choice.base_url or environ.get("OPENAI_BASE_URL", "")
    key = _key(environ, key_name)
    proxy = _proxy(environ, base_url or OPENAI_URL)
    return OpenAIModel(choice.name, api_key=key, base_url=base_url, key_name=key_name, proxy=proxy, settings=settings)


def _proxy(environ: Mapping[str, str], url: str) -> str:
    """The proxy with a password on the way to an address, if any: clients find only others, see `withhold`."""
    proxies = {name[:-6].lower(): value for name, value in environ.items() if name.lower().endswith("_proxy")}
    parts = urlsplit(url)
    proxy = proxies.get(parts.scheme) or proxies.get("all", "")
    if scrub(proxy) == proxy:
        return ""
    from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed forgot it

    return "" if proxy_bypass_environment(parts.netloc, proxies) else proxy


def _key(environ: Mapping[str, str], name: str) -> str:
    key = environ.get(name, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise AgentError(f"{name} holds characters that no key has: set it again")
    return key
