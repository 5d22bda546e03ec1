"""Graphs: a module's `encode` as a list of tensor operations on one row, which runs without the module's code.

A graph is traced once and written as JSON: operations of PyTorch's core set by name, with their arguments, on a row, on
tensors that lie beside it in a safetensors file, and on what earlier operations gave. It is made by a process that runs
edited code, so it is read as untrusted: nothing but these operations can be written down in it.

The graph is given a row and nothing of its batch. No other row, no number of rows and no place among them can have a
part in what it gives.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lab.errors import LabError

Json = Any
aten = torch.ops.aten
_NOTHING: Mapping[str, Any] = {}
LONGEST = 20_000  # operations

# Beside PyTorch's core set: what its functional forms and views are made of.
_ALSO = {
    *("_log_softmax", "_softmax", "_unsafe_view", "addcdiv", "addcmul", "addmv", "alias", "argsort", "baddbmm"),
    *("bucketize", "celu", "chunk", "clamp", "clamp_max", "clamp_min", "copy", "cosh", "cummax", "cummin", "cumprod"),
    *("detach", "diagonal", "dot", "elu", "erfinv", "exp2", "flip", "frac", "full_like", "gelu", "glu", "hardshrink"),
    *("hardsigmoid", "hardswish", "heaviside", "hypot", "index_add", "index_copy", "isinf", "isnan", "kthvalue"),
    *("leaky_relu", "lerp", "lift_fresh", "lift_fresh_copy", "linalg_vector_norm", "log_sigmoid_forward"),
    *("logaddexp", "logit", "logsumexp", "masked_fill", "median", "mish", "mv", "nan_to_num", "narrow"),
    *("native_layer_norm", "new_full", "new_ones", "new_zeros", "norm", "one_hot", "ones", "ones_like", "roll"),
    *("rsub", "scalar_tensor", "scatter", "scatter_add", "scatter_reduce", "searchsorted", "select_scatter", "selu"),
    *("silu", "sinh", "slice_scatter", "softplus", "softshrink", "sort", "split", "square", "std", "std_mean", "t"),
    *("threshold", "tile", "topk", "transpose", "tril", "triu", "unbind", "unsafe_view", "var_mean", "xlogy"),
    *("zeros", "zeros_like"),
}
# Of the core set: what leaves memory as it was, or reads it by numbers that nobody checks.
_NOT = {"empty", "empty_strided", "as_strided", "_embedding_bag", "resize_"}
_TAGS = ("nondeterministic_seeded", "dynamic_output_shape", "data_dependent_output")
_NAME = re.compile(r"(\w+)\.(\w+)")
_DTYPES = {
    str(kind).removeprefix("torch."): kind
    for kind in (
        *(torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.bool),
        *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    )
}
_DROPPED = {"device", "pin_memory", "layout", "memory_format"}  # of where the trace ran; what a graph gives has none


@dataclass(frozen=True)
class Operation:
    """One operation.

    Args:
        name: its name and overload, such as "mm.default".
        args: what it is given, as JSON: numbers, text, None, lists; {"node": i, "out": j} for what an earlier
            operation gave, {"weight": NAME}, {"row": 0} or {"dtype": NAME}.
        kwargs: the same, by name.
        placed: whether it makes a tensor anew, and so has to be told the device.
    """

    name: str
    args: tuple[Json, ...]
    kwargs: Mapping[str, Json]
    placed: bool = False

    @property
    def given(self) -> list[Json]:
        """All arguments."""
        return [*self.args, *self.kwargs.values()]

    def to_json(self) -> Json:
        """As it stands in the file."""
        return [self.name, list(self.args), dict(self.kwargs), self.placed]


@dataclass(frozen=True)
class Graph:
    """A function of one row.

    Args:
        operations: in their order.
        output: a reference to what the last of them gives, [d_sae].
        weights: the tensors that they use, by name.
    """

    operations: tuple[Operation, ...]
    output: Json
    weights: Mapping[str, Tensor]
    _calls: tuple[Callable[..., Any], ...] = field(repr=False, default=())

    def rows(self, x: Tensor) -> Tensor:
        """[n, d_in] to [n, d_sae]: all rows at once, each computed as if it were alone."""
        found: Tensor = torch.func.vmap(self.row)(x)
        return found

    def row(self, row: Tensor) -> Tensor:
        """[d_in] to [d_sae]."""
        made: list[Any] = []
        for operation, call in zip(self.operations, self._calls):
            made.append(self._run(operation, call, made, row))
        found: Tensor = self._value(self.output, made, row)
        return found

    def walk(self, row: Tensor) -> Iterator[tuple[Operation, list[Tensor], list[Tensor]]]:
        """Each operation with the tensors that it is given and those that it gives, for one row [d_in]."""
        made: list[Any] = []
        for operation, call in zip(self.operations, self._calls):
            given = [self._value(ref, made, row) for ref in references(operation.given)]
            made.append(self._run(operation, call, made, row))
            yield operation, given, _tensors(made[-1])

    def depends(self) -> bool:
        """Tell whether what it gives can depend on the row."""
        return any("row" in ref for ref in references([self.output, *(o.given for o in self.operations)]))

    def to(self, device: str | torch.device) -> Graph:
        """The same graph with its weights on a device."""
        return Graph(
            self.operations, self.output, {name: w.to(device) for name, w in self.weights.items()}, self._calls
        )

    def to_json(self) -> Json:
        """The operations and the output; weights are kept elsewhere."""
        return {"operations": [operation.to_json() for operation in self.operations], "output": self.output}

    def _run(self, operation: Operation, call: Callable[..., Any], made: Sequence[Any], row: Tensor) -> Any:
        kwargs = {name: self._value(value, made, row) for name, value in operation.kwargs.items()}
        if operation.placed:
            kwargs["device"] = row.device
        return call(*(self._value(value, made, row) for value in operation.args), **kwargs)

    def _value(self, value: Json, made: Sequence[Any], row: Tensor) -> Any:
        if isinstance(value, list | tuple):
            return [self._value(item, made, row) for item in value]
        if not isinstance(value, Mapping):
            return value
        if "row" in value:
            return row
        if "weight" in value:
            return self.weights[value["weight"]]
        if "dtype" in value:
            return _DTYPES[value["dtype"]]
        if "float" in value:
            return float(value["float"])
        found = made[value["node"]]
        return found if value["out"] is None else found[value["out"]]


def trace(run: Callable[[Tensor], Tensor], weights: Mapping[str, Tensor], row: Tensor) -> Graph:
    """Write down what a function does with a row.

    Args:
        run: [1, d_in] to [1, d_sae]; uses tensor operations only, and changes nothing that it does not make.
        weights: the tensors that it may use, by name; others that it uses become constants of the graph.
        row: [d_in] a real row.

    Returns:
        The graph, which holds the tensors that are used.

    Raises:
        LabError: it looks at values, draws at random, changes a weight, or uses an operation that is no core one.
    """
    recorder = _Recorder(row, weights)
    try:
        with torch.no_grad(), recorder:
            found = torch.func.functionalize(lambda given: run(given[None])[0])(row)
    except (RuntimeError, TypeError, ValueError, NotImplementedError, LookupError, AttributeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LabError(
            f"encode() cannot be written down as operations on one row: {reason[:300]} "
            "(use tensor operations only: no .item(), no if on tensor values, no state)"
        ) from error
    return recorder.graph(found)


def read(value: Json, weights: Mapping[str, Tensor]) -> Graph:
    """A graph from its JSON.

    Args:
        value: as `Graph.to_json` gives it; not trusted.
        weights: tensors by name.

    Raises:
        LabError: it is no such value, or names an operation, a tensor or a kind of argument that no graph has.
    """
    try:
        listed, output = value["operations"], value["output"]
        if not isinstance(listed, list) or len(listed) > LONGEST:
            raise LabError(f"it has no list of at most {LONGEST:,} operations")
        operations = []
        for place, (name, args, kwargs, placed) in enumerate(listed):
            if not isinstance(args, list) or not isinstance(kwargs, dict) or not isinstance(placed, bool):
                raise LabError(f"operation {place} is not written as a graph writes it")
            _check([*args, *kwargs.values()], place, weights)
            operations.append(Operation(str(name), tuple(args), kwargs, placed))
        _check(output, len(operations), weights)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise LabError(f"it is not written as a graph is ({error!r:.100})") from error
    every = references([output, *(operation.given for operation in operations)])
    used = {ref["weight"] for ref in every if "weight" in ref}
    calls = tuple(_operation(operation.name) for operation in operations)
    return Graph(tuple(operations), output, {name: weights[name] for name in sorted(used)}, calls)


def _operation(name: str) -> Callable[..., Any]:
    """PyTorch's operation of a name.

    Raises:
        LabError: there is none, or it is no plain function of tensors.
    """
    parts = _NAME.fullmatch(name)
    packet = getattr(aten, parts[1], None) if parts else None
    found = getattr(packet, parts[2], None) if parts and isinstance(packet, torch._ops.OpOverloadPacket) else None
    if not isinstance(found, torch._ops.OpOverload) or not _plain(found):
        raise LabError(f"it uses {name!r:.80}, which is no plain tensor operation")
    return found


def _plain(operation: torch._ops.OpOverload) -> bool:
    packet = operation.overloadpacket
    known = packet.__name__ in _ALSO or any(torch.Tag.core in getattr(packet, o).tags for o in packet.overloads())
    # An index by numbers has one shape; one by a mask is refused when rows are run side by side.
    tags = operation.tags if packet.__name__ != "index" else ()
    unfit = operation._schema.is_mutable or any(getattr(torch.Tag, tag) in tags for tag in _TAGS)
    return operation.namespace == "aten" and known and not unfit and packet.__name__ not in _NOT


def _check(value: Json, place: int, weights: Mapping[str, Tensor]) -> None:
    """Refuse what no graph holds as an argument of the operation at a place."""
    if isinstance(value, list | tuple):
        for item in value:
            _check(item, place, weights)
    elif isinstance(value, dict) and set(value) in ({"node", "out"}, {"weight"}, {"row"}, {"dtype"}, {"float"}):
        node, out = value.get("node", 0), value.get("out")
        good = type(node) is int and (node < place or "node" not in value) and node >= 0
        good = good and (out is None or (type(out) is int and out >= 0))
        good = good and value.get("weight", next(iter(weights), None)) in weights
        if (
            not good
            or value.get("dtype", "bool") not in _DTYPES
            or value.get("float", "inf") not in ("inf", "-inf", "nan")
        ):
            raise LabError(f"operation {place} refers to {value!r:.80}, which is not there")
    elif not isinstance(value, str | int | float | None):
        raise LabError(f"operation {place} is given {value!r:.80}")


def references(value: Json) -> Iterator[Mapping[str, Json]]:
    """The references in an argument: to the row, to a weight, or to what an operation gave."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from references(item)
    elif isinstance(value, Mapping) and {"node", "weight", "row"} & set(value):
        yield value


def _tensors(value: Any) -> list[Tensor]:
    parts = value if isinstance(value, list | tuple) else [value]
    return [part for part in parts if isinstance(part, Tensor)]


class _Recorder(TorchDispatchMode):
    """Writes down each operation that reaches PyTorch's kernels."""

    def __init__(self, row: Tensor, weights: Mapping[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.weights = dict(weights)
        self._operations: list[Operation] = []
        self._known: dict[int, Json] = {id(tensor): {"weight": name} for name, tensor in weights.items()}
        self._known[id(row)] = {"row": 0}
        self._alive: list[Any] = [row]  # a number of a tensor must not be given to another

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        """Called for each operation, with this mode set aside."""
        kwargs = kwargs or {}
        # Two that rows side by side do not have, in operations that they have.
        if func is aten.copy.default:
            same = self._record(aten._to_copy.default, args[1:2], {"dtype": args[0].dtype})
            return self._record(aten.expand.default, (same, list(args[0].shape)))
        if func is aten.empty.memory_format and math.prod(args[0]) == 0:
            return self._record(aten.zeros.default, args[:1], {"dtype": kwargs.get("dtype")})
        if func is aten.native_batch_norm.default and not args[5] and args[0].ndim == 2:
            return self._by_running_statistics(args[0], args[1:3], args[3:5], args[7])
        if func is aten.index_put.default and len(args) == 3 and _is_mask(args[0], args[1]) and args[2].numel() == 1:
            return self._record(aten.where.self, (args[1][0], args[2], args[0]))
        return self._record(func, args, kwargs)

    def _record(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any] = _NOTHING) -> Any:
        if not _plain(func):
            raise RuntimeError(_why_not(func))
        given = tuple(self._ref(value) for value in args)
        named = {name: self._ref(value) for name, value in kwargs.items() if name not in _DROPPED}
        made = func(*args, **kwargs)
        place, several = len(self._operations), isinstance(made, list | tuple)
        placed = "device" in kwargs or (not _tensors(list(args)) and _takes_device(func))
        name = f"{func.overloadpacket.__name__}.{func._overloadname}"
        self._operations.append(Operation(name, given, named, placed))
        if place >= LONGEST:
            raise RuntimeError(f"it takes more than {LONGEST:,} operations")
        for out, tensor in enumerate(_tensors(made)):
            self._known[id(tensor)] = {"node": place, "out": out if several else None}
            self._alive.append(tensor)
        return made

    def _by_running_statistics(
        self, x: Tensor, affine: Sequence[Tensor | None], statistics: Sequence[Tensor], eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Batch normalisation as it is after training; what it keeps of a batch is empty."""
        (weight, bias), (mean, var) = affine, statistics
        spread = self._record(aten.sqrt.default, (self._record(aten.add.Tensor, (var, eps)),))
        found = self._record(aten.div.Tensor, (self._record(aten.sub.Tensor, (x, mean)), spread))
        if weight is not None:
            found = self._record(aten.mul.Tensor, (found, weight))
        if bias is not None:
            found = self._record(aten.add.Tensor, (found, bias))
        return found, mean.new_zeros(0), mean.new_zeros(0)

    def graph(self, found: Tensor) -> Graph:
        """The operations that the result needs."""
        value = torch._from_functional_tensor(found) if torch._is_functional_tensor(found) else found
        output = self._known.get(id(value))
        if output is None:
            raise LabError("encode() gives the same latents whatever its input is: it must depend on the activations")
        needed: set[int] = set()
        waiting = list(references(output))
        while waiting:
            node = waiting.pop().get("node")
            if node is not None and node not in needed:
                needed.add(node)
                waiting += references(self._operations[node].given)
        order = {old: new for new, old in enumerate(sorted(needed))}
        operations = [_renumbered(self._operations[old], order) for old in order]
        return read({"operations": [o.to_json() for o in operations], "output": _moved(output, order)}, self.weights)

    def _ref(self, value: Any) -> Json:
        if isinstance(value, Tensor):
            if id(value) not in self._known:
                name = f"constant_{sum(name.startswith('constant_') for name in self.weights)}"
                self.weights[name] = value.detach().clone()
                self._known[id(value)] = {"weight": name}
                self._alive.append(value)
            return self._known[id(value)]
        if isinstance(value, list | tuple):
            return [self._ref(item) for item in value]
        if isinstance(value, torch.dtype):
            return {"dtype": str(value).removeprefix("torch.")}
        if isinstance(value, float) and not math.isfinite(value):
            return {"float": str(value)}
        if isinstance(value, str | int | float | None):
            return value
        raise RuntimeError(f"an operation is given {type(value).__name__}")


def _is_mask(values: Tensor, places: Sequence[Tensor | None]) -> bool:
    return (
        len(places) == 1 and places[0] is not None and places[0].dtype == torch.bool and places[0].shape == values.shape
    )


def _takes_device(func: Any) -> bool:
    return any(argument.name == "device" for argument in func._schema.arguments)


def _why_not(func: Any) -> str:
    name = str(func).removeprefix("aten.")
    if torch.Tag.nondeterministic_seeded in func.tags:
        return f"{name} draws at random, and an SAE gives the same each time"
    if func._schema.is_mutable:
        return f"{name} changes a tensor that encode() did not make"
    return f"{name} is not allowed: the steps and shapes of encode() must not depend on values"


def _renumbered(operation: Operation, order: Mapping[int, int]) -> Operation:
    kwargs = {name: _moved(value, order) for name, value in operation.kwargs.items()}
    return Operation(operation.name, tuple(_moved(operation.args, order)), kwargs, operation.placed)


def _moved(value: Json, order: Mapping[int, int]) -> Json:
    if isinstance(value, list | tuple):
        return [_moved(item, order) for item in value]
    return {**value, "node": order[value["node"]]} if isinstance(value, Mapping) and "node" in value else value
