"""Models that answer: those of the providers that `TABLE` lists, compatible servers, or a recorded campaign."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.base.errors import AgentError
from agent.base.keys import child_environment, environment, remember_keys, scrub
from agent.models.base import BudgetExceeded, CallFailed, ContextTooLong, Model, Reply, Request
from agent.models.budget import Budget, BudgetLimits
from agent.models.provider import Provider, shown_url
from agent.models.recorded import Recorded
from agent.models.replay import ReplayModel, replies_used
from agent.models.retry import ModelSettings
from agent.models.transcript import Spent, Transcript

__all__ = [
    "TABLE",
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
    "load",
    "make_model",
    "same_model",
    "scrub",
]

TABLE: dict[str, str] = {
    "anthropic": "agent.models.anthropic",
    "openai": "agent.models.openai",
}
"""Each provider's name and the module whose PROVIDER it is; `auto` takes the first whose key is set."""


def load(name: str) -> Provider:
    """A provider of models; its library is not imported yet."""
    found: Provider = importlib.import_module(TABLE[name]).PROVIDER
    return found


@dataclass(frozen=True)
class Choice:
    """The model that `--model` came to.

    Attributes:
        provider: a key of TABLE, or "replay".
        name: the model's name, or the path of the file to replay.
        base_url: a compatible server's address; empty for the provider's own.
        said: one line for the screen: who answers, and why.
    """

    provider: str
    name: str
    base_url: str
    said: str

    @property
    def spec(self) -> str:
        """The value of `--model` that gives this choice from any folder."""
        name = str(Path(self.name).resolve()) if self.provider == "replay" else self.name
        return f"{self.provider}:{name}" + (f"@{self.base_url}" if self.base_url else "")


def same_model(one: str, other: str) -> bool:
    """Tell whether two specs name one model, at whatever address it is asked."""
    first, second = (re.split(r"@(?=https?://)", spec)[0] for spec in (one, other))
    return first == second


def choose(
    spec: str, *, script: Path | None = None, environ: Mapping[str, str] | None = None, option: str = "--model"
) -> Choice:
    """Read a `--model` value.

    Args:
        spec: `anthropic:NAME`, `openai:NAME`, `openai:NAME@BASE_URL`, `replay:PATH` or `auto`; a provider without a
            name takes its default model.
        script: the idea's scripted campaign, the last resort of `auto`.
        environ: where keys are looked for (`keys.environment()`); `os.environ` with `.env` when None.
        option: what gave the value, for messages.

    Raises:
        AgentError: for a value of no such form, and for `auto` with neither a key nor a script.
    """
    environ = environment() if environ is None else environ
    if spec == "auto":
        return _choose_automatically(script, environ)
    provider, _, rest = spec.partition(":")
    if provider == "replay" and rest:
        return Choice("replay", rest, "", f"the replies of {rest} answer; no model is called")
    if provider not in TABLE:
        raise AgentError(f"{option} {scrub(spec)!r} is unknown: give {', '.join(_forms())} or auto")
    about = load(provider)
    name, _, base_url = rest.partition("@") if about.other_key_name else (rest, "", "")
    name = name or about.default_name
    if base_url and not base_url.startswith(("http://", "https://")):
        raise AgentError(f"{option} {scrub(spec)!r}: the address after @ should start with http:// or https://")
    if base_url and shown_url(base_url) != base_url:
        # The address is shown and written down, so it may hold nothing secret.
        raise AgentError(
            f"the address in {option} should be plain, like {shown_url(base_url)}: no user, password or query; "
            f"a key goes into {about.other_key_name}"
        )
    if scrub(spec) != spec:
        raise AgentError(f"{option} {scrub(spec)!r}: a command line is no place for a key; put it into the environment")
    if about.is_own(base_url) and not environ.get(about.key_name):
        raise AgentError(f"{option} {provider}:{name} needs a key: set {about.key_name} or put it into .env")
    where = f" at {shown_url(base_url)}" if base_url else ""
    return Choice(provider, name, base_url, f"{provider}:{name}{where} answers")


def _choose_automatically(script: Path | None, environ: Mapping[str, str]) -> Choice:
    known = {name: load(name) for name in TABLE}
    for provider, about in known.items():
        if environ.get(about.key_name):
            said = f"{provider}:{about.default_name} answers, as {about.key_name} is set"
            return Choice(provider, about.default_name, "", said)
    keys = [about.key_name for about in known.values()]
    if script is None:
        forms = _forms()
        raise AgentError(
            f"no model to ask: set {' or '.join(keys)}, or give --model {', '.join(forms[:-1])} or {forms[-1]}"
        )
    said = f"no key is set ({', '.join(keys)}), so no model is asked: the scripted campaign {script} answers"
    return Choice("replay", str(script), "", said)


def _forms() -> list[str]:
    """The forms that `--model` may have, beside `auto`."""
    with_address = [f"{name}:NAME@BASE_URL" for name in TABLE if load(name).other_key_name]
    return [*(f"{name}:NAME" for name in TABLE), *with_address, "replay:PATH"]


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
        patience = settings or ModelSettings.from_environment(environ)
        client = load(choice.provider).make(choice.name, choice.base_url, environ, patience)
        model, price_known = client, client.price_known
    limits = budget.limits if budget is not None else limits or BudgetLimits()
    limits.check_price(model.name, known=price_known)
    if record is None:
        return model
    in_order = choice.provider == "replay"
    budget = budget or Budget(limits, [record])
    return Recorded(model, record, budget=budget, start=start, in_order=in_order, check=check)
