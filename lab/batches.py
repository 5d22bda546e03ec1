"""The batches of a training run: rows of the activation store on the run's device, and what surrounds them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lab.activations import ActivationStore
from lab.errors import LabError

_RESIDENT_SHARE = 0.4  # of the free GPU memory may hold all cached activations


class Source:
    """Rows of the store, brought to the device: scaled float32 activations and what is known of each position.

    Attributes: `given`, the rows that were handed out so far.
    """

    def __init__(self, store: ActivationStore, device: torch.device) -> None:
        self.store = store
        self.device = device
        self.given = 0
        self.acts = store.acts
        self.resident = False
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if self.acts.numel() * self.acts.element_size() < _RESIDENT_SHARE * free:
                self.acts = self.acts.to(device)
                self.resident = True

    def gather(self, rows: Tensor) -> Tensor:
        """[n, d_model] in the store's dtype: on the device when all lie there, else in pinned memory or on the CPU."""
        if self.resident:
            return self.acts.index_select(0, rows.to(self.device, non_blocking=True))
        if self.device.type != "cuda":
            return self.acts.index_select(0, rows)
        pinned = torch.empty(len(rows), self.acts.shape[1], dtype=self.acts.dtype, pin_memory=True)
        return torch.index_select(self.acts, 0, rows, out=pinned)

    def handed_out(self, gathered: Tensor) -> Tensor:
        """[n, d_model] float32 on the device, unit mean square per coordinate over the store; they count as given."""
        self.given += len(gathered)
        return gathered.to(self.device, non_blocking=True).float().mul_(self.store.scale)

    @cached_property
    def positions(self) -> tuple[Tensor, Tensor]:
        """Document and position of every row, int64 [n]."""
        return self.store.document.long(), self.store.position.long()


class _Sealed(type):
    """Classes of which no part is exchanged."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise LabError(f"{cls.__name__.lower()}.{name} is the lab's: an experiment cannot set it")

    def __delattr__(cls, name: str) -> None:
        raise LabError(f"{cls.__name__.lower()}.{name} is the lab's: an experiment cannot take it away")


class Fixed(metaclass=_Sealed):
    """Attributes that are set once stay, and there is one of each: an experiment asks the lab's objects, no more."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and (name in vars(self) or hasattr(type(self), name)):
            raise LabError(f"{type(self).__name__.lower()}.{name} is the lab's: an experiment cannot set it")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        raise LabError(f"{type(self).__name__.lower()}.{name} is the lab's: an experiment cannot take it away")

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise LabError(f"a {type(self).__name__.lower()} is the lab's: an experiment cannot copy it")


class Batch(Fixed):
    """One step's activations, and on request what surrounds them.

    Args:
        step: from 0.
        acts: [batch, d_model] float32, scaled, on the run's device.
    """

    def __init__(self, step: int, acts: Tensor, rows: Tensor, source: Source) -> None:
        self.step = step
        self.acts = acts
        self._rows = rows
        self._source = source

    @cached_property
    def _previous_rows(self) -> tuple[Tensor, Tensor]:
        document, position = self._source.positions
        before = (self._rows - 1).clamp(min=0)
        same = (document[before] == document[self._rows]) & (position[before] == position[self._rows] - 1)
        return torch.where(same, before, self._rows), same

    @cached_property
    def previous(self) -> Tensor:
        """[batch, d_model]: the activations one token earlier, scaled; where there are none cached, the row's own."""
        return self._source.handed_out(self._source.gather(self._previous_rows[0]))

    @cached_property
    def has_previous(self) -> Tensor:
        """[batch] bool: whether `previous` is another token (not at the start of a text, not next to an outlier)."""
        return self._previous_rows[1].to(self.acts.device)

    @cached_property
    def source(self) -> Tensor:
        """[batch] int64: which set of texts each token is from, an index into `run.sources`."""
        return self._source.store.source[self._rows].long().to(self.acts.device)
