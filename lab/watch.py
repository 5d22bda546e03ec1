"""A watch over a training loop: values that are not finite, empty means, loss terms without effect.

It sees every call of torch's Python interface (`TorchFunctionMode`) between `lab.training.start` and `run.save`, and
changes none of them. It is slow, so it is for smoke runs (`lab.smoke`).
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler
from torch.overrides import TorchFunctionMode

_MEANS = {"mean", "var", "std", "var_mean", "std_mean", "median", "quantile"}
_SWALLOWS = {"nan_to_num", "nan_to_num_", "nansum", "nanmean", "nanmedian", "nanquantile", "isnan", "isfinite"}
_ADD = {
    "add",
    "add_",
    "__add__",
    "__radd__",
    "__iadd__",
    "sub",
    "__sub__",
    "__rsub__",
    "rsub",
    "stack",
    "cat",
    "hstack",
}
_PASS = {"sum", "mean", "float", "double", "to", "type", "clone", "squeeze", "reshape", "view", "contiguous"}
_SCALE = {"mul", "__mul__", "__rmul__", "mul_", "__imul__", "div", "__truediv__", "true_divide"}
_NEW = {"zeros", "zeros_like", "new_zeros", "tensor", "full", "empty", "as_tensor", "scalar_tensor"}
_ROUNDING = 1e-6  # of the sum of a weight's elements
_SMALL = 64  # elements; what a loss is summed up from


@dataclass
class _Term:
    """A summand of the loss, over all steps.

    line: of the script where it came to be. names: what it was logged as. moves: whether it ever moved a parameter.
    plain: whether it was only ever a new tensor of zeros, as sums are begun with.
    """

    line: int
    names: set[str] = field(default_factory=set)
    moves: bool = False
    plain: bool = True


class Watch(TorchFunctionMode):
    """Notes what goes wrong while a script trains.

    Args:
        script: the path of the script as its code names it.

    Attributes:
        findings: what was seen, in plain words, each with the script's line.
        idle: terms of the loss that never moved a parameter, in words, with the line that each came from.
    """

    def __init__(self, script: str) -> None:
        super().__init__()
        self.findings: dict[str, None] = {}
        self.idle: dict[str, int] = {}
        self._script = script
        self._step = 0
        self._terms: dict[tuple[int, str, int], _Term] = {}
        self._leaves: dict[int, _Term] = {}
        self._made: dict[int, tuple[str, int, tuple[Tensor, ...]]] = {}
        self._kept: list[Tensor] = []
        self._weights: dict[int, tuple[Tensor, tuple[float, float]]] = {}
        self._rounds: dict[int, int] = {}
        self._batches = 0

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        """Called by torch for each of its functions, with this mode set aside."""
        kwargs = kwargs or {}
        name = str(getattr(func, "__name__", ""))
        given = tuple(_tensors(args))
        if given and name in _MEANS and given[0].numel() == 0:
            self._find(f"{name} of an empty tensor, {list(given[0].shape)}, is NaN")
        if given and name in _SWALLOWS and given[0].is_floating_point() and given[0].isnan().any():
            self._find(f"{name}() hides NaN values that came before it")
        if name == "nan_to_num" and given and given[0].is_floating_point() and given[0].isinf().any():
            self._find("nan_to_num() hides infinite values that came before it")
        if name == "backward" and given:
            self._before_backward(given[0])
        elif name == "grad" and given and given[0].grad_fn is not None:
            self._begin_pass(given[0])
        result = func(*args, **kwargs)
        if name == "backward" and given:
            self._after_backward()
        elif isinstance(result, Tensor) and result.numel() <= _SMALL and not any(result is tensor for tensor in given):
            self._kept.append(result)
            self._made[id(result)] = (name, self._line(), given)
        elif name in ("add_", "__iadd__") and len(given) == 2 and result is given[0] and result.numel() <= _SMALL:
            before = self._made.get(id(result))
            parts = before[2] if before and before[0] in _ADD else ()
            self._made[id(result)] = (name, self._line(), (*parts, given[1]))
        return result

    def next_batch(self, step: int) -> None:
        """A batch is handed out: what belonged to the one before is forgotten."""
        self._count_changes()
        self._step, self._batches = step, self._batches + 1
        self._made.clear()
        self._leaves.clear()
        self._kept.clear()

    def exhausted(self) -> None:
        """The last batch is done: the script's own objects are still there to be looked at."""
        for thing in gc.get_objects():
            if issubclass(type(thing), LRScheduler) and thing.last_epoch < 1:
                self.findings.setdefault(f"the scheduler {type(thing).__name__} was made and never stepped")

    def logged(self, values: Mapping[str, Any]) -> None:
        """Values were logged; a term of the loss has its name from there."""
        for name, value in values.items():
            if isinstance(value, Tensor) and (term := self._leaves.get(id(value))):
                term.names.add(name)

    def close(self) -> None:
        """Training is over: say which terms never did anything, and whether batches were trained on twice."""
        self._count_changes()
        moving = {name for term in self._terms.values() if term.moves for name in term.names}
        for term in self._terms.values():
            named = ", ".join(sorted(term.names))
            if term.moves or (term.names and term.names <= moving) or (term.plain and not term.names):
                continue
            what = f"the loss term {named!r}" if named else "a term of the loss"
            self.idle.setdefault(f"line {term.line}: {what} has no gradient in any step: it does nothing", term.line)
        most = max(self._rounds.values(), default=0)
        if most > self._batches:
            self.findings.setdefault(
                f"the weights were updated {most} times on {self._batches} batches: the budget is one step a batch"
            )

    def _before_backward(self, loss: Tensor) -> None:
        if not torch.isfinite(loss).all():
            self._find(f"the loss is {float(loss.detach().sum())} at step {self._step}")
        leaves = self._begin_pass(loss)
        seen: Counter[tuple[int, str]] = Counter()
        for tensor in self._summands(loss):
            name, line, _ = self._made.get(id(tensor), ("", 0, ()))
            # A line in a loop makes several terms.
            seen[line, name] += 1
            term = self._terms.setdefault((line, name, seen[line, name]), _Term(line))
            self._leaves[id(tensor)] = term
            self._kept.append(tensor)
            term.plain = term.plain and name in _NEW and not bool(tensor.any())
            if not term.moves and tensor.requires_grad:
                grads = torch.autograd.grad(tensor.sum(), leaves, retain_graph=True, allow_unused=True)
                term.moves = any(bool(grad.any()) for grad in grads if grad is not None)

    def _begin_pass(self, loss: Tensor) -> list[Tensor]:
        """A backward pass begins: note the weights that it reaches, which are returned."""
        self._count_changes()
        leaves = _leaves(loss)
        self._weights = {id(leaf): (leaf, _print_of(leaf)) for leaf in leaves}
        return leaves

    def _after_backward(self) -> None:
        for leaf, _ in self._weights.values():
            if leaf.grad is not None and not torch.isfinite(leaf.grad).all():
                self._find(f"the gradient of a parameter {list(leaf.shape)} is not finite at step {self._step}")

    def _count_changes(self) -> None:
        """A weight that changed since the last backward pass was updated once more."""
        for key, (leaf, (before, size)) in self._weights.items():
            # What is added and taken away again leaves a rounding error.
            if not abs(_print_of(leaf)[0] - before) <= _ROUNDING * size:
                self._rounds[key] = self._rounds.get(key, 0) + 1
        self._weights = {}

    def _summands(self, tensor: Tensor) -> Iterator[Tensor]:
        name, _, given = self._made.get(id(tensor), ("", 0, ()))
        parts = [part for part in given if part is not tensor and part.numel() <= _SMALL]
        if name in _ADD and parts and tensor.numel() <= _SMALL:
            for part in parts:
                yield from self._summands(part)
        elif name in _PASS and len(parts) == 1 and self._is_sum(parts[0]):
            yield from self._summands(parts[0])
        else:
            yield tensor
            if name in _SCALE and (inner := next((part for part in parts if self._is_sum(part)), None)) is not None:
                yield from self._summands(inner)

    def _is_sum(self, tensor: Tensor) -> bool:
        name, _, given = self._made.get(id(tensor), ("", 0, ()))
        return name in _ADD or (name in _PASS and any(self._is_sum(part) for part in given if part is not tensor))

    def _line(self) -> int:
        frame = sys._getframe(2)
        while frame is not None:
            if frame.f_code.co_filename == self._script:
                return frame.f_lineno
            frame = frame.f_back  # type: ignore[assignment]
        return 0

    def _find(self, what: str) -> None:
        frame: Any = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename != self._script:
            frame = frame.f_back
        line = f"line {frame.f_lineno}: " if frame else ""
        # The same line says the same at every step: once is enough.
        if not any(said.startswith(line + what[:20]) for said in self.findings):
            self.findings.setdefault(line + what)


def _tensors(values: Sequence[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from (item for item in value if isinstance(item, Tensor))


def _leaves(loss: Tensor) -> list[Tensor]:
    """The parameters that a loss reaches."""
    found: dict[int, Tensor] = {}
    seen, waiting = set(), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if (leaf := getattr(node, "variable", None)) is not None:
            found[id(leaf)] = leaf
        waiting.extend(before for before, _ in node.next_functions)
    return list(found.values())


def _print_of(leaf: Tensor) -> tuple[float, float]:
    """A number that changes when a weight does, and the most that it could be."""
    flat = leaf.detach().flatten()
    some = flat[:: max(1, len(flat) // 4096)].double()
    return float(some.sum()), float(some.abs().sum())
