"""The compute of a training run, measured while it goes on: floating-point operations, updates, processor time.

Operations are counted exactly before the first batch, in the first and last step, and from the last batch until the SAE
is saved; of the steps between, some drawn at random stand for the rest. A step that is not counted and takes several
times the usual processor time counts as so many steps. What is not seen: updates through `.data` or by new tensors in
place of old ones are no updates here (their operations count), and a function that torch.compile made runs uncompiled
where operations are counted. Operations outside PyTorch are not counted; the numbers that leave it for that are.
"""

from __future__ import annotations

import functools
import itertools
import random
import statistics
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from lab.errors import LabError

_FEWEST, _SHARE = 5, 0.01  # steps that are counted besides the first and the last
_LONG = 4.0  # times the usual processor time
# What long steps take beyond the usual counts from this share of the run and these seconds on: less is the machine's.
_WEIGHS, _SECONDS = 0.25, 0.5
_BAGS = ("_embedding_bag", "_embedding_bag_forward_only")
_PAIRS = (
    "_cdist_forward",
    "_euclidean_dist",
    "_cdist_backward",
)  # of every row of one tensor with every row of another
# Products that go by other names, of all numbers of one tensor with those of another.
_BY_ANOTHER_NAME = ("_trilinear", "sampled_addmm", "mkldnn_linear", "rnn", "lstm", "gru")
_LEAVES = {"__array__", "__dlpack__", "numpy", "storage", "tolist", "untyped_storage"}
_CUBIC = ("linalg", "cholesky", "svd", "geqrf", "ormqr", "orgqr", "lu_", "triangular_solve", "eig", "inverse")


class Meter:
    """The meter of one run.

    Args:
        steps: how many batches are handed out.
        draw: decides which steps are counted: a number that the run cannot know.
    """

    def __init__(self, steps: int, draw: int) -> None:
        self._steps = steps
        self._counted = _drawn(steps, draw)
        self._mode, self._border = _Counting(), _Border()
        self._left: Counter[int] = Counter()
        self._place: int | None = -1  # of the step under way
        self._flop: Counter[int] = Counter()
        self._seconds: dict[int, float] = {}
        self._since = self._began = time.process_time()
        self._on = False
        self._turn(True)

    def pause(self) -> None:
        """The script wants the next batch: what the lab does for that is no part of its compute."""
        if self._place is None:
            return
        if self._on:
            self._flop[self._place] += self._mode.step_ends()
            self._left[self._place] += self._border.step_ends()
        else:
            self._seconds[self._place] = time.process_time() - self._since
        self._turn(False)
        self._place = None

    def step(self, place: int) -> None:
        """A batch is handed out, or, with the number of batches, all of them were.

        Args:
            place: its place in their order, from 0.
        """
        self.pause()
        self._place = place
        self._turn(place in self._counted or place >= self._steps)
        self._since = time.process_time()

    def finish(self) -> dict[str, Any]:
        """End measuring.

        Returns:
            `flop` of the whole run, `flop_counted` in it, `numbers_taken_out` of PyTorch, and `cpu_seconds`.
        """
        self.pause()
        return {
            "flop": self._whole(self._flop),
            "flop_counted": sum(self._flop.values()),
            "numbers_taken_out": self._whole(self._left),
            "cpu_seconds": round(time.process_time() - self._began, 2),
        }

    def written(self, tensor: Tensor) -> float:
        """The times that a tensor is written in place in a step, of those that were counted; 1 where none tells."""
        return statistics.median(self._mode.writes.get(id(tensor), [1]))

    def _turn(self, on: bool) -> None:
        if on == self._on:
            return
        self._on = on
        for mode in (self._mode, self._border):
            if on:
                mode.__enter__()  # type: ignore[no-untyped-call]
            else:
                mode.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def _whole(self, counted: Counter[int]) -> int:
        drawn = [count for place, count in counted.items() if 0 < place < self._steps - 1]
        rest = list(self._seconds.values())
        if not drawn or not rest:
            return sum(counted.values())
        usual = statistics.median(rest)
        beyond = sum(seconds - usual for seconds in rest if seconds > _LONG * usual)
        more = beyond / usual if beyond > max(_SECONDS, _WEIGHS * usual * self._steps) else 0.0
        return sum(counted.values()) + round(statistics.fmean(drawn) * (len(rest) + more))


class _Counting(TorchDispatchMode):
    """Counts operations, and how often each tensor is written in place."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flop = 0
        self.writes: dict[int, list[int]] = {}
        self._written: Counter[int] = Counter()

    def step_ends(self) -> int:
        """The count since the last step ended, which ends this one."""
        for key, count in self._written.items():
            self.writes.setdefault(key, []).append(count)
        self._written.clear()
        counted, self.flop = self.flop, 0
        return counted

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        cost, writes = _rule(func)
        if cost is not None:
            self.flop += cost(args, kwargs or {}, result)
        if writes and args and isinstance(args[0], Tensor) and args[0].is_leaf:
            self._written[id(args[0])] += 1
        return result


class _Border(TorchFunctionMode):
    """Counts the numbers that leave PyTorch, to be computed with where no operation is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 0

    def step_ends(self) -> int:
        """The count since the last step ended, which ends this one."""
        left, self.left = self.left, 0
        return left

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _LEAVES and args and isinstance(args[0], Tensor):
            self.left += args[0].numel()
        return func(*args, **(kwargs or {}))


class _Parameter:
    """A tensor that an optimiser has updated, by what is known of it."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = weakref.ref(tensor)
        self.size = tensor.numel()
        self.updates = 0


class Updates:
    """The updates of every parameter, over all optimisers of the process from now on.

    Attributes: `at_a_time`, the elements that optimisers updated and that were there together; `rate`, the largest
    learning rate that a step had, wherever the script set it.
    """

    def __init__(self) -> None:
        self._known: dict[int, _Parameter] = {}
        self._gone = 0  # the most updates of a parameter that is no more
        self.at_a_time = 0
        self.rate = 0.0
        self._hook = register_optimizer_step_post_hook(self._stepped)
        self._closed = False

    def close(self) -> None:
        """Count no more: what is trained from here on is in no record.

        Raises:
            LabError: that was so already.
        """
        if self._closed:
            raise LabError("run.save() was called twice: what is trained after the first is in no record")
        self._closed = True
        self._hook.remove()

    @property
    def most(self) -> int:
        """The most steps of optimisers that any parameter took part in."""
        return max((self._gone, *(one.updates for one in self._known.values())))

    def by_hand(self, module: nn.Module) -> list[Tensor]:
        """The parameters of the SAE that no optimiser held, and that were written in place."""
        return [one for one in module.parameters() if not self._knows(one) and one._version > 1]

    def _knows(self, tensor: Tensor) -> bool:
        found = self._known.get(id(tensor))
        return found is not None and found.tensor() is tensor

    def _stepped(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        kinds = (int, float, Tensor)
        rates = [float(group["lr"]) for group in optimizer.param_groups if isinstance(group.get("lr"), kinds)]
        self.rate = max([self.rate, *rates])
        tensors = [one for group in optimizer.param_groups for one in group["params"] if one.grad is not None]
        for tensor in tensors:
            if not self._knows(tensor):
                self._add(tensor)
            self._known[id(tensor)].updates += 1

    def _add(self, tensor: Tensor) -> None:
        gone = [key for key, one in self._known.items() if one.tensor() is None]
        self._gone = max([self._gone, *(self._known.pop(key).updates for key in gone)])
        self._known[id(tensor)] = _Parameter(tensor)
        self.at_a_time = max(self.at_a_time, sum(one.size for one in self._known.values()))


def compute(module: nn.Module, updates: Updates, meter: Meter | None) -> dict[str, Any]:
    """The compute of a run, for its record; measuring ends.

    Args:
        module: the SAE that is saved.
        updates: counted from the run's start.
        meter: of the run, where it has one.

    Returns:
        What `Meter.finish` gives; `updates`, the most of any parameter; `learning_rate`, the largest of any step, where
        it is a plain number; `parameters_trained`, the elements that were trained at a time. A parameter that is
        updated by hand was updated as often as it was written in place, divided by how often that is done in a step.
    """
    updates.close()
    measured = meter.finish() if meter else {}
    by_hand = updates.by_hand(module)
    times = [round(one._version / max(1.0, meter.written(one) if meter else 1.0)) for one in by_hand]
    trained = updates.at_a_time + sum(one.numel() for one in by_hand)
    most = max([updates.most, *times])
    return {**measured, "updates": most, "learning_rate": updates.rate, "parameters_trained": trained}


def _drawn(steps: int, draw: int) -> set[int]:
    """The places of the steps that are counted: the first, the last, and one at random of each part of the run."""
    source = random.Random(draw)
    parts = min(steps, max(_FEWEST, round(_SHARE * steps)))
    edges = [round(part * steps / parts) for part in range(parts + 1)] if parts else []
    return {0, steps - 1, *(source.randrange(low, high) for low, high in itertools.pairwise(edges) if low < high)}


_Cost = Callable[[Sequence[Any], dict[str, Any], Any], int]


@functools.cache
def _rule(func: Any) -> tuple[_Cost | None, bool]:
    """The count of a call's operations, None for none; and whether it writes to its first argument."""
    name = func._schema.name.partition("::")[2]
    first = func._schema.arguments[0] if func._schema.arguments else None
    writes = bool(first and first.alias_info and first.alias_info.is_write)
    if func._overloadpacket in flop_registry:
        formula = flop_registry[func._overloadpacket]
        return lambda args, kwargs, result: int(formula(*args, **kwargs, out_val=result)), writes
    if func.is_view or name.startswith(("empty", "detach")):
        return None, writes
    if name in _BAGS:
        return lambda args, kwargs, result: 2 * len(args[1]) * int(args[0].shape[1]), writes
    if name.startswith("_embedding_bag") and name.endswith("backward"):
        indices = 2 if "per_sample" in name else 1
        return lambda args, kwargs, result: 2 * len(args[indices]) * int(args[0].shape[-1]), writes
    if name in _PAIRS:
        return lambda args, kwargs, result: _pairs(list(_tensors(args))), writes
    if any(part in name for part in _BY_ANOTHER_NAME):
        return lambda args, kwargs, result: _whole_products(list(_tensors([*args, *_inside(args)])), result), writes
    if any(part in name for part in _CUBIC):
        return lambda args, kwargs, result: _cubic(list(_tensors(args))), writes
    return lambda args, kwargs, result: max(_elements(args), _elements([result])), writes


def _pairs(given: list[Tensor]) -> int:
    """Products of the rows of two tensors, with each other."""
    left, right = given if len(given) == 2 else given[1:3]  # the gradient of what they gave comes first
    return 2 * left.numel() * int(right.shape[-2])


def _whole_products(given: list[Tensor], result: Any) -> int:
    """Every row that comes out with every number of the largest tensor that goes in, which holds the weights."""
    out = next(_tensors([result, *_inside([result])]), None)
    rows = out.numel() // max(1, int(out.shape[-1])) if out is not None and out.dim() else 1
    return 2 * rows * max((one.numel() for one in given[1:] or given), default=0)


def _inside(values: Iterable[Any]) -> Iterable[Any]:
    return (item for value in values if isinstance(value, list | tuple) for item in value)


def _cubic(given: list[Tensor]) -> int:
    """Decompositions and solutions: as many operations for each element as the first matrix is wide."""
    width = min(given[0].shape[-2:]) if given and given[0].dim() > 1 else 1
    return sum(tensor.numel() for tensor in given) * int(width)


def _elements(values: Iterable[Any]) -> int:
    """The elements of the largest tensor, or list of tensors."""
    sizes = [0]
    for value in values:
        if isinstance(value, Tensor):
            sizes.append(value.numel())
        elif isinstance(value, list | tuple):
            sizes.append(sum(item.numel() for item in value if isinstance(item, Tensor)))
    return max(sizes)


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    return (value for value in values if isinstance(value, Tensor))
