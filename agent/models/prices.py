"""Prices of calls; each provider's file has its list, with the day on which it was read.

A list is for plain (not batch, not priority) calls; a cache write is the five-minute kind.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


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


_DATE_SUFFIX = re.compile(r"-(\d{8}|\d{4}-\d{2}-\d{2})$")


def price_of(name: str, prices: Mapping[str, Price]) -> Price | None:
    """The price of a provider's model, with or without the date at the end of its name; None when unknown."""
    return prices.get(name) or prices.get(_DATE_SUFFIX.sub("", name))
