"""Budgets: how much may be spent, checked before each call against what the transcripts say was spent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from agent.base.errors import AgentError
from agent.models.base import BudgetExceeded
from agent.models.transcript import Spent, Transcript

_POLL = 0.2


@dataclass(frozen=True)
class BudgetLimits:
    """Hard limits for a campaign, or for several together; None is no limit.

    Attributes:
        usd: dollars, over all calls.
        tokens: input and output tokens, cached and lost ones included, over all calls.
    """

    usd: float | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("--budget-usd", self.usd), ("--budget-tokens", self.tokens)):
            if value is not None and not value > 0:
                raise AgentError(f"{name} is {value}: give a number above 0, or leave it out for no limit")

    def check(self, spent: Spent) -> None:
        """Let the next call pass, or stop.

        Args:
            spent: what all calls so far used.

        Raises:
            BudgetExceeded: when a limit is reached.
        """
        if self.usd is not None and spent.dollars >= self.usd:
            raise BudgetExceeded(
                f"the budget of ${self.usd:.2f} is used up (${spent.dollars:.2f} in {spent.calls} calls): "
                "resume with a larger --budget-usd to go on"
            )
        if self.tokens is not None and spent.tokens >= self.tokens:
            raise BudgetExceeded(
                f"the budget of {self.tokens:,} tokens is used up ({spent.tokens:,} in {spent.calls} calls): "
                "resume with a larger --budget-tokens to go on"
            )

    def check_price(self, model: str, *, known: bool) -> None:
        """Refuse a budget in dollars that could not be kept.

        Args:
            model: the model's name, for the message.
            known: whether the price table has the model, or the model costs nothing.

        Raises:
            AgentError: when the price is unknown, dollars are limited and tokens are not.
        """
        if self.usd is not None and self.tokens is None and not known:
            raise AgentError(
                f"the price of {model} is unknown, so --budget-usd alone cannot be kept: give --budget-tokens as well"
            )

    @property
    def limited(self) -> bool:
        """Tell whether there is any limit."""
        return self.usd is not None or self.tokens is not None


class Budget:
    """A budget and what was spent of it, by one campaign or by several side by side.

    A call under way is counted like the dearest so far, so that campaigns side by side pass the budget by no more than
    one does alone: by its last call.
    """

    def __init__(self, limits: BudgetLimits, transcripts: Sequence[Transcript]) -> None:
        """Add up what was spent before.

        Args:
            limits: in dollars and tokens.
            transcripts: those of all campaigns that share the budget.
        """
        self.limits = limits
        self._spent = sum((transcript.spent() for transcript in transcripts), Spent())
        self._dearest = Spent()
        self._under_way = 0
        self._ended = threading.Condition()

    @contextmanager
    def call(self, check: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Around a call: it begins once the budget has room for it.

        Args:
            check: called before the call and while it waits; raises when the user wants to stop, so that none is paid.

        Raises:
            BudgetExceeded: a limit is reached.
        """
        with self._ended:
            while True:
                check()
                self.limits.check(self._spent)
                if not self._under_way or not self.limits.limited or self._has_room():
                    break
                self._ended.wait(_POLL)
            self._under_way += 1
        try:
            yield
        finally:
            with self._ended:
                self._under_way -= 1
                self._ended.notify_all()

    def add(self, cost: Spent) -> None:
        """Count what a call used."""
        with self._ended:
            self._spent += cost
            dearest = self._dearest
            self._dearest = Spent(0, max(dearest.tokens, cost.tokens), max(dearest.dollars, cost.dollars))

    def _has_room(self) -> bool:
        """Tell if the budget holds should the calls under way cost as much as the dearest; unknown before the first."""
        if not self._dearest.tokens:
            return False
        tokens = self._spent.tokens + self._under_way * self._dearest.tokens
        dollars = self._spent.dollars + self._under_way * self._dearest.dollars
        try:
            self.limits.check(Spent(self._spent.calls, tokens, dollars))
        except BudgetExceeded:
            return False
        return True
