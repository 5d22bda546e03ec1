"""Reading of SAEs that version 0.1.0 saved: their encoders are graphs of torch.export, for any number of rows.

A .pt2 file is an archive in which pickled objects and any importable operator may hide. It was made by a process that
ran edited code, so it is read as untrusted: `read` looks through the archive first and lets only plain tensors and
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
from torch import Tensor
from torch.export import ExportedProgram

from lab import graphs
from lab.errors import LabError

FILES = ("encode.pt2", "decode.pt2")
_MODULE = "sae."
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


def encoder(
    folder: Path, weights: Mapping[str, Tensor], d_in: int
) -> tuple[graphs.Graph, dict[str, Tensor], list[str]]:
    """The encoder of an SAE that version 0.1.0 saved, as a graph of one row; that of its decoder is only checked.

    Args:
        folder: with encode.pt2 and decode.pt2.
        weights: the tensors of its weights.safetensors.
        d_in: width of a row.

    Returns:
        The graph; the constants of both files, by file and name; their computations as text, which is the same
        whenever and wherever they are loaded.

    Raises:
        LabError: a file is missing, damaged, or does not belong to the weights.
    """
    constants: dict[str, Tensor] = {}
    programs = {name: _read(folder / name) for name in FILES}
    for name, program in programs.items():
        for key, tensor in program.state_dict.items():
            known = key.removeprefix(_MODULE)
            if known not in weights or not torch.equal(tensor, weights[known]):
                raise LabError(
                    f"{folder / name} disagrees with the weights in {known}: the files are of different SAEs"
                )
        constants.update({f"{name}/{key}": value for key, value in program.constants.items()})
    module: Any = programs["encode.pt2"].module()
    named = {name.removeprefix(_MODULE): tensor for name, tensor in module.named_parameters()}
    named.update({name.removeprefix(_MODULE): tensor for name, tensor in module.named_buffers()})
    graph = graphs.trace(lambda rows: module(torch.cat([rows, rows]))[:1], named, torch.zeros(d_in))
    return graph, constants, ["\n".join(part.code for part in _graphs(program)) for program in programs.values()]


def _graphs(program: ExportedProgram) -> Iterator[torch.fx.GraphModule]:
    return (part for part in program.graph_module.modules() if isinstance(part, torch.fx.GraphModule))


def _read(path: Path) -> ExportedProgram:
    if not path.is_file():
        raise LabError(f"{path.parent} has no {path.name}: the SAE is not whole, save it again")
    try:
        with zipfile.ZipFile(path) as archive:
            _inspect(archive, path)
        return torch.export.load(path)
    except (zipfile.BadZipFile, OSError, UnicodeDecodeError, *_FAULTS) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LabError(f"{path} cannot be read as an exported graph ({reason[:200]}): save the SAE again") from error


def _inspect(archive: zipfile.ZipFile, path: Path) -> None:
    names = archive.namelist()
    # Of two members of one name this module would look at one, and the loader may take the other.
    if len(set(names)) < len(names):
        raise LabError(f"{path} holds a file twice, which no plain graph does: it is not loaded")
    for name in names:
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
