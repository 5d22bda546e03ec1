"""A provider of models, as its own file describes it, and how its client finds its key and its proxy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from agent.base.errors import AgentError
from agent.base.keys import scrub
from agent.models.base import Model
from agent.models.retry import ModelSettings


class Client(Model, Protocol):
    """A model behind a provider's interface."""

    @property
    def price_known(self) -> bool:
        """Tell whether a budget in dollars can be kept."""


@dataclass(frozen=True)
class Provider:
    """A provider of models.

    Attributes:
        own_url: its address.
        key_name: the variable that its key is looked for in.
        default_name: the model that is asked where none is named.
        library: imported by the client when it is first used.
        make: the client for a model's name and an address ("" for the provider's own), with the environment that holds
            keys and proxies, and the patience with a faulty server. Nothing is imported or sent yet.
        other_key_name: the variable of the key for servers that speak the same at another address; "" where no other
            address may be named.
    """

    own_url: str
    key_name: str
    default_name: str
    library: str
    make: Callable[[str, str, Mapping[str, str], ModelSettings], Client]
    other_key_name: str = ""

    def is_own(self, base_url: str) -> bool:
        """Tell whether an address is the provider's own, so that its key, prices and parameters apply."""
        return is_at(base_url, self.own_url)


def is_at(base_url: str, own_url: str) -> bool:
    """Tell whether an address is at a provider's own host; an empty one is."""
    return not base_url or urlsplit(base_url).hostname == urlsplit(own_url).hostname


def shown_url(base_url: str) -> str:
    """The address as it may be shown: without user, password, query and fragment."""
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def read_key(environ: Mapping[str, str], name: str) -> str:
    """The key in a variable; empty where there is none.

    Raises:
        AgentError: it cannot be a key.
    """
    key = environ.get(name, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise AgentError(f"{name} holds characters that no key has: set it again")
    return key


def proxy_to(environ: Mapping[str, str], url: str) -> str:
    """The proxy with a password on the way to an address, if any: clients find only others, see `withhold`."""
    proxies = {name[:-6].lower(): value for name, value in environ.items() if name.lower().endswith("_proxy")}
    parts = urlsplit(url)
    proxy = proxies.get(parts.scheme) or proxies.get("all", "")
    if scrub(proxy) == proxy:
        return ""
    from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed forgot it

    return "" if proxy_bypass_environment(parts.netloc, proxies) else proxy
