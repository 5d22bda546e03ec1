"""Budgets: how much a campaign may spend, checked before each call against what the transcript says was spent."""

from __future__ import annotations

from dataclasses import dataclass

from agent.errors import AgentError
from agent.models.base import BudgetExceeded
from agent.models.transcript import Spent


@dataclass(frozen=True)
class Budget:
    """Hard limits for a campaign; None is no limit.

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
