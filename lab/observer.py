"""The observer of an experiment's training, told of every step that goes through the lab's hands."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lab.batches import Batch
    from lab.settings import Profile


class Observer(Protocol):
    """An object that looks on, in a smoke run (`lab.smoke`)."""

    def started(self, profile: Profile, sample_acts: Callable[[], Tensor]) -> None:
        """A run of a profile has begun; `sample_acts` gives raw activations of it, [n, d_model]."""

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
