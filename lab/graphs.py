"""Exported graphs: a module's `encode` or `decode` as a file that runs without the module's code.

A .pt2 file is an archive in which pickled objects and any importable operator may hide. It is made by a process that
runs edited code, so it is read as untrusted: `read` looks through the archive first and lets only plain tensors and
tensor operators through.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from lab.errors import LabError

_MODULE = "sae"
_MEMBERS = re.compile(
    r"[^/]+/(archive_format|archive_version|byteorder|\.data/(version|serialization_id)|models/model\.json"
    r"|data/sample_inputs/model\.pt|data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json))"
)
_OPERATORS = re.compile(
    r"torch\.ops\.(aten|prims)\.(?!from_file)\w+(\.\w+)?"
    r"|torch\.ops\.higher_order\.wrap_with_(autocast|set_grad_enabled)"
    r"|torch\.sym_\w+|_operator\.(getitem|neg|add|sub|mul|floordiv|truediv|mod|pow|eq|ne|lt|le|gt|ge|and_|or_)"
)
# Sizes are formulas in text that the loader evaluates, so only sizes' own functions may stand in them.
_FORMULA = re.compile(r"[A-Za-z0-9_+\-*/%(),<>=&|~ ]*")
_CALL = re.compile(r"([A-Za-z_]\w*)\s*\(")
_FUNCTIONS = {"Symbol", "Integer", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Mod", "PythonMod", "FloorDiv"}
# What export and its loader are known to raise on code or files that they cannot take.
_FAULTS = (RuntimeError, TypeError, ValueError, AttributeError, AssertionError, NotImplementedError, LookupError)


class _Method(nn.Module):
    """One method of a module as a forward pass on raw activations or latents: method(x · scale) / scale."""

    def __init__(self, module: nn.Module, method: str, scale: float) -> None:
        super().__init__()
        self.add_module(_MODULE, module)
        self.method = method
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        run = getattr(self.sae, self.method)
        found: Tensor = run(x) if self.scale == 1.0 else run(x * self.scale) / self.scale
        return found


def export(module: nn.Module, method: str, rows: Tensor, scale: float = 1.0) -> ExportedProgram:
    """Trace one method for any number of rows, with no state but what it uses.

    Args:
        module: on the CPU, in evaluation mode, its parameters without gradient.
        method: the name of a method that takes and gives one tensor with a batch dimension in front.
        rows: [at least 2, width] a few real inputs.
        scale: the graph computes method(x · scale) / scale.

    Raises:
        LabError: the method cannot be traced, for example because it branches on values.
    """
    batch = {0: Dim("batch")}
    try:
        program = torch.export.export(
            _Method(module, method, scale), (rows[:4].clone(),), dynamic_shapes=(batch,), strict=False
        )
    except _FAULTS as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LabError(
            f"{method}() cannot be exported as a graph for any batch size: {reason[:300]} "
            "(use tensor operations only: no .item(), no if on tensor values, no fixed batch size)"
        ) from error
    _drop_unused(program)
    for graph in _graphs(program):
        for node in graph.graph.nodes:  # traces hold the paths of the machine that ran the training
            node.meta.pop("stack_trace", None)
            node.meta.pop("nn_module_stack", None)
    return program


def _drop_unused(program: ExportedProgram) -> None:
    """Take the parameters and buffers away that a graph does not use."""
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    unused = [node for node in program.graph.nodes if node.name in names and not node.users]
    dropped = {node.name for node in unused}
    for node in unused:
        program.graph.erase_node(node)
    signature.input_specs[:] = [spec for spec in signature.input_specs if spec.arg.name not in dropped]
    for full in {names[name] for name in dropped} - {full for name, full in names.items() if name not in dropped}:
        program.state_dict.pop(full, None)
        program.constants.pop(full, None)
    program.graph_module.recompile()


def _graphs(program: ExportedProgram) -> Iterator[torch.fx.GraphModule]:
    return (part for part in program.graph_module.modules() if isinstance(part, torch.fx.GraphModule))


def state(program: ExportedProgram) -> dict[str, Tensor]:
    """The parameters and buffers a graph carries, by their names in the module it was traced from."""
    return {name.removeprefix(f"{_MODULE}."): tensor for name, tensor in program.state_dict.items()}


def uses_input(program: ExportedProgram) -> bool:
    """Tell whether what a graph gives can depend on the values it is given; how many they are does not count."""
    reached = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        is_size = isinstance(node.meta.get("val"), torch.SymInt | torch.SymBool | torch.SymFloat)
        if not is_size and any(source.name in reached for source in node.all_input_nodes):
            reached.add(node.name)
    return any(name in reached for name in program.graph_signature.user_outputs)


def text(program: ExportedProgram) -> str:
    """The computation of a graph, as text that is the same whenever and wherever it is loaded."""
    return "\n".join(part.code for part in _graphs(program))


def write(program: ExportedProgram, path: Path) -> None:
    """Write a graph to a .pt2 file.

    Raises:
        OSError: the file cannot be written.
    """
    content = io.BytesIO()
    torch.export.save(program, content)
    path.write_bytes(content.getvalue())  # torch's own writer ends the process when the disk is full


def read(path: Path, device: str | torch.device = "cpu") -> ExportedProgram:
    """Read a graph, running none of the code of the process that wrote it.

    Args:
        path: a .pt2 file.
        device: where its parameters and constants shall lie.

    Raises:
        LabError: the file is no such archive, is damaged, or holds more than tensors and tensor operators.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _inspect(archive, path)
        program = torch.export.load(path)
        if torch.device(device).type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, torch.device(device))
    except (zipfile.BadZipFile, OSError, UnicodeDecodeError, *_FAULTS) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LabError(f"{path} cannot be read as an exported graph ({reason[:200]}): save the SAE again") from error
    return program


def _inspect(archive: zipfile.ZipFile, path: Path) -> None:
    for name in archive.namelist():
        if not _MEMBERS.fullmatch(name):
            raise LabError(f"{path} holds {name!r}, which is no part of a plain graph: it is not loaded")
        content = archive.read(name) if name.endswith((".json", ".pt")) else b""
        if name.endswith("_config.json"):
            if any(value is not False for value in _values(json.loads(content), "use_pickle")):
                raise LabError(f"{path} holds pickled objects: it is not loaded")
        elif name.endswith(".json"):
            _inspect_model(json.loads(content), path)
        elif name.endswith(".pt"):
            try:
                torch.load(io.BytesIO(content), weights_only=True)
            except (pickle.UnpicklingError, struct.error, EOFError) as error:
                raise LabError(f"{path} holds pickled objects: it is not loaded") from error


def _inspect_model(model: Any, path: Path) -> None:
    for target in _values(model, "target"):
        if isinstance(target, str) and not _OPERATORS.fullmatch(target):
            raise LabError(f"{path} uses the operator {target!r}, which is no tensor operator: it is not loaded")
    for expression in _values(model, "expr_str"):
        formula = re.sub(r"'(\w+)'", r"\1", str(expression))
        if "__" in formula or not _FORMULA.fullmatch(formula) or set(_CALL.findall(formula)) - _FUNCTIONS:
            raise LabError(f"{path} holds the size {expression!r:.80}, which is no plain formula: it is not loaded")


def _values(tree: Any, key: str) -> Iterator[Any]:
    """All values that stand under a key anywhere in a JSON tree."""
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            if name == key:
                yield value
            yield from _values(value, key)
    elif isinstance(tree, list):
        for value in tree:
            yield from _values(value, key)
