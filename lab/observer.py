"""Who looks on while an experiment trains: the lab tells it of every step that goes through the lab's hands."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import nn

    from lab.training import Batch, Run


class Observer(Protocol):
    """Who looks on, in a smoke run (`lab.smoke`)."""

    def started(self, run: Run) -> None:
        """A run has begun."""

    def configured(self, config: Any) -> None:
        """An experiment's settings are complete."""

    def batch(self, batch: Batch) -> None:
        """A batch is about to be handed out."""

    def exhausted(self) -> None:
        """All batches were handed out."""

    def logged(self, values: dict[str, Any]) -> None:
        """Values of a step were noted."""

    def saving(self, module: nn.Module) -> None:
        """An SAE is about to be saved."""


OBSERVER: ContextVar[Observer | None] = ContextVar("OBSERVER", default=None)
