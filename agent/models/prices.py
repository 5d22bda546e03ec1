"""Prices of calls: a small table of list prices, with the day on which they were read."""

from __future__ import annotations

import re
from dataclasses import dataclass

PRICES_READ_ON = "2026-11-05"


@dataclass(frozen=True)
class Usage:
    """Tokens of one call.

    Attributes:
        tokens_in: all input tokens, cached ones included.
        tokens_cached: those read from the provider's cache.
        tokens_cache_written: those written to it.
        tokens_out: output tokens, hidden reasoning included.
        estimated: True when the server did not say and the figures come from the length of the texts.
    """

    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_cache_written: int = 0
    tokens_out: int = 0
    estimated: bool = False

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.tokens_in + other.tokens_in,
            self.tokens_cached + other.tokens_cached,
            self.tokens_cache_written + other.tokens_cache_written,
            self.tokens_out + other.tokens_out,
            self.estimated or other.estimated,
        )


@dataclass(frozen=True)
class Price:
    """Dollars per million tokens; `up_to` is the longest prompt, in tokens, that this price is for."""

    tokens_in: float
    tokens_out: float
    cached: float
    cache_write: float
    up_to: int | None = None

    def dollars(self, usage: Usage) -> float | None:
        """The cost of one call, or None when its prompt is longer than this price is for."""
        if self.up_to is not None and usage.tokens_in > self.up_to:
            return None
        fresh = max(0, usage.tokens_in - usage.tokens_cached - usage.tokens_cache_written)
        return (
            fresh * self.tokens_in
            + usage.tokens_cached * self.cached
            + usage.tokens_cache_written * self.cache_write
            + usage.tokens_out * self.tokens_out
        ) / 1e6


def _long(tokens_in: float, tokens_out: float, cached: float, cache_write: float | None = None) -> Price:
    return Price(tokens_in, tokens_out, cached, tokens_in if cache_write is None else cache_write, up_to=272_000)


# Providers' list prices for plain (not batch, not priority) calls; a cache write is the five-minute kind.
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

_DATE_SUFFIX = re.compile(r"-(\d{8}|\d{4}-\d{2}-\d{2})$")


def price_of(name: str) -> Price | None:
    """The price of a provider's model, with or without the date at the end of its name; None when unknown."""
    return PRICES.get(name) or PRICES.get(_DATE_SUFFIX.sub("", name))
