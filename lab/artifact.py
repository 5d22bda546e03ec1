"""An SAE on disk: weights, the operations of its encoder and a description, and no code.

The folder holds `weights.safetensors`, `encode.json` and `sae.json`. Latents and reconstructions are of raw activations
of the subject model: encode(x) = E(x · s) / s, where E is the module's own method and s the factor by which its
training data were scaled, and decode(f) = f @ W_dec + b_dec, which needs no graph. Where the architecture allows it
(its activation function is positively homogeneous, as ReLU and top-k are) s is folded into the biases, so that the
weights are in raw units too; else `input_scale` in sae.json says what is left of it.

The encoder's graph is one of a single row: what it gives for a token can depend on nothing but that token.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lab import graphs
from lab.cost import Cost, measure
from lab.errors import LabError
from lab.folding import UNIT_NORM_TOLERANCE, agree, in_raw_units, latents_and_output, with_unit_rows

WEIGHTS, ENCODE, CARD = "weights.safetensors", "encode.json", "sae.json"
SCHEMA = 2
_BEFORE = 1  # `lab.exported` reads it
_NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")
_CHECK_ROWS = 256


@dataclass(frozen=True)
class Artifact:
    """A loaded SAE in raw activation units.

    Args:
        folder: where it was read.
        W_enc: [d_in, d_sae]
        b_enc: [d_sae]
        W_dec: [d_sae, d_in] with unit rows
        b_dec: [d_in]
        meta: what sae.json says.
        fingerprint: hash of weights and graph; equal for equal SAEs.
        cost: its size, and what a token costs.
    """

    folder: Path
    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    meta: Mapping[str, Any]
    fingerprint: str
    cost: Cost
    _encode: Callable[[Tensor], Tensor] = field(repr=False)

    @property
    def d_in(self) -> int:
        """Width of the residual stream."""
        return self.W_dec.shape[1]

    @property
    def d_sae(self) -> int:
        """Number of latents."""
        return self.W_dec.shape[0]

    @property
    def architecture(self) -> str:
        """The name the experiment gave it, such as "topk"."""
        return str(self.meta["architecture"])

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.W_dec.device

    def encode(self, x: Tensor) -> Tensor:
        """Latents of raw activations: [n, d_in] of any float type to [n, d_sae] float32, on the artifact's device."""
        latents: Tensor = self._encode(x.to(self.device, torch.float32))
        return latents

    def decode(self, f: Tensor) -> Tensor:
        """Raw activations from latents: [n, d_sae] to [n, d_in] float32, on the artifact's device."""
        return f.to(self.device, torch.float32) @ self.W_dec + self.b_dec


def save(
    folder: Path, module: nn.Module, *, input_scale: float, meta: Mapping[str, Any], sample_acts: Tensor
) -> Artifact:
    """Check an SAE, export it and write its folder, whole or not at all.

    Args:
        folder: written anew; one that is there is replaced.
        module: has encode([n, d_in]) -> [n, d_sae], decode([n, d_sae]) -> [n, d_in] = latents @ W_dec + b_dec, and
            parameters W_enc [d_in, d_sae], b_enc [d_sae], W_dec [d_sae, d_in], b_dec [d_in].
        input_scale: the factor from raw activations to those the module was trained on.
        meta: JSON-like facts for sae.json; needs "architecture".
        sample_acts: [n, d_in] raw activations of the subject model for the checks; a few hundred rows are used.

    Returns:
        The SAE as it reads back from disk, on the CPU.

    Raises:
        LabError: a parameter is missing, misshapen or not finite; a decoder row is not of unit norm and its norm cannot
            be folded into the encoder; `encode` cannot be exported, or a row's latents depend on the rows beside it;
            the disk is full.
    """
    copied = _cpu_copy(module)
    d_sae, d_in = _check_module(copied)
    acts = sample_acts[:_CHECK_ROWS].detach().to("cpu", torch.float32)
    if acts.ndim != 2 or acts.shape[0] < 2 or acts.shape[1] != d_in:
        raise LabError(f"sample_acts must be [at least 2, {d_in}], not {list(acts.shape)}")
    with torch.no_grad():
        latents, output = latents_and_output(copied, acts * input_scale, d_sae)
        unit = with_unit_rows(copied, acts * input_scale, latents, output)
        latents, output = latents_and_output(unit, acts * input_scale, d_sae)
        latents, output = latents / input_scale, output / input_scale
        raw, scale = in_raw_units(unit, input_scale, acts, latents, output)
    graph = _graph(raw, scale, acts, latents)
    state = {name: getattr(raw, name) for name in _NAMES} | dict(graph.weights)
    card = {**meta, "schema": SCHEMA, "d_in": d_in, "d_sae": d_sae, "input_scale": scale}
    return _write(Path(folder), state, graph, card)


def load(folder: Path, device: str | torch.device = "cpu") -> Artifact:
    """Read an SAE and check it; none of the code that made it runs.

    Args:
        folder: as `save` writes it.
        device: where to put it.

    Raises:
        LabError: a file is missing or damaged, a shape is wrong, a weight is not finite, a decoder row is not of unit
            norm, or graphs, weights and sae.json do not belong together.
    """
    artifact = _read(Path(folder), device)
    if artifact.meta.get("fingerprint") != artifact.fingerprint:
        raise LabError(f"{folder} was changed after it was saved (its fingerprint differs): save the SAE again")
    return artifact


def _cpu_copy(module: nn.Module) -> nn.Module:
    """A float32 copy on the CPU, free of gradients and of whatever a training step left hanging on the module."""
    memo: dict[int, Any] = {}
    for part in module.modules():
        for value in vars(part).values():
            if isinstance(value, Tensor) and value.grad_fn is not None:
                memo[id(value)] = value.detach()
    copied = copy.deepcopy(module, memo).to("cpu", torch.float32).eval().requires_grad_(False)
    for tensor in (*copied.parameters(), *copied.buffers()):
        tensor.data = tensor.data.contiguous()
    return copied


def _check_module(module: Any) -> tuple[int, int]:
    for name in ("encode", "decode"):
        if not callable(getattr(module, name, None)):
            raise LabError(f"the SAE has no method {name}(): it is needed for scoring")
    for name in _NAMES:
        if not isinstance(getattr(module, name, None), Tensor):
            raise LabError(f"the SAE has no parameter {name}: it needs W_enc, b_enc, W_dec and b_dec")
    weights = {name: getattr(module, name) for name in _NAMES}
    if weights["W_dec"].ndim != 2:
        raise LabError(f"W_dec must be [d_sae, d_in], not {list(weights['W_dec'].shape)}")
    d_sae, d_in = weights["W_dec"].shape
    _check_weights(weights, d_in, d_sae, "the SAE")
    for name, tensor in module.named_parameters():
        _check_finite(name, tensor, "the SAE")
    return d_sae, d_in


def _check_weights(weights: Mapping[str, Tensor], d_in: int, d_sae: int, where: str) -> None:
    shapes = {"W_enc": (d_in, d_sae), "b_enc": (d_sae,), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}
    for name, shape in shapes.items():
        if name not in weights:
            raise LabError(f"{where} has no {name}")
        if tuple(weights[name].shape) != shape:
            raise LabError(f"{where}: {name} has shape {list(weights[name].shape)}, it must be {list(shape)}")
        _check_finite(name, weights[name], where)


def _check_finite(name: str, tensor: Tensor, where: str) -> None:
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        raise LabError(f"{where}: {name} holds values that are not finite (NaN or infinity): the training diverged")


def _graph(module: Any, scale: float, acts: Tensor, latents: Tensor) -> graphs.Graph:
    """The operations of the encoder; refused where the latents of a row alone are not those of the row among others."""

    def encode(rows: Tensor) -> Tensor:
        found: Tensor = module.encode(rows) if scale == 1.0 else module.encode(rows * scale) / scale
        return found

    graph = graphs.trace(encode, dict((*module.named_parameters(), *module.named_buffers())), acts[0])
    try:
        with torch.no_grad():
            alone = graph.rows(acts)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise LabError(f"encode() can't be run on one row at a time: {reason[:200]}") from error
    if not agree(alone, latents):
        raise LabError(
            "encode() gives a row other latents among other rows than alone: it must be a function of one row, "
            "and must not keep state"
        )
    return graph


def _write(folder: Path, state: dict[str, Tensor], graph: graphs.Graph, card: dict[str, Any]) -> Artifact:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.part-"))
    except OSError as error:
        raise LabError(f"cannot write {folder}: {error.strerror}") from error
    try:
        part.chmod(0o755)
        save_file({name: tensor.detach().contiguous().clone() for name, tensor in state.items()}, part / WEIGHTS)
        (part / WEIGHTS).chmod(0o644)
        (part / ENCODE).write_text(json.dumps(graph.to_json()) + "\n", encoding="utf-8")
        _write_card(part, card)
        saved = _read(part, "cpu")
        _write_card(part, {**card, "fingerprint": saved.fingerprint})
        if folder.exists():
            shutil.rmtree(folder)
        part.rename(folder)
    except OSError as error:
        raise LabError(f"cannot write {folder}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise LabError(f"cannot write {folder / WEIGHTS}: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return replace(saved, folder=folder, meta=_read_card(folder / CARD))


def _write_card(folder: Path, card: Mapping[str, Any]) -> None:
    (folder / CARD).write_text(json.dumps(card, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _read(folder: Path, device: str | torch.device) -> Artifact:
    if not folder.is_dir():
        raise LabError(f"no SAE at {folder}: a run saves one with run.save()")
    for name in (CARD, WEIGHTS):
        if not (folder / name).is_file():
            raise LabError(f"{folder} has no {name}: the SAE is not whole, save it again")
    card = _read_card(folder / CARD)
    d_in, d_sae, scale = card["d_in"], card["d_sae"], float(card["input_scale"])
    try:
        weights = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise LabError(f"{folder / WEIGHTS} is damaged ({error}): save the SAE again") from error
    _check_weights(weights, d_in, d_sae, str(folder / WEIGHTS))
    norms = weights["W_dec"].norm(dim=1)
    if (norms - 1).abs().max() > 10 * UNIT_NORM_TOLERANCE:
        raise LabError(
            f"{folder / WEIGHTS}: decoder rows must have norm 1, they have {norms.min():.3g} to {norms.max():.3g}"
        )
    facts = {"d_in": d_in, "d_sae": d_sae, "input_scale": scale}
    if card["schema"] == _BEFORE:
        from lab import exported

        graph, constants, text = exported.encoder(folder, weights, d_in)
        fingerprint = _fingerprint({**weights, **constants}, text, facts)
    else:
        graph = _read_graph(folder / ENCODE, weights)
        fingerprint = _fingerprint(weights, [json.dumps(graph.to_json())], facts)
    if not graph.depends():
        raise LabError(f"the encoder of {folder} ignores its input: it is no part of an SAE")
    on_device = {name: weights[name].to(device) for name in _NAMES}
    on_device["b_enc"], on_device["b_dec"] = on_device["b_enc"] / scale, on_device["b_dec"] / scale
    placed = graph.to(device)
    cost = _probe(folder, placed, weights, on_device["b_dec"])
    return Artifact(folder, **on_device, meta=card, fingerprint=fingerprint, cost=cost, _encode=placed.rows)


def _read_graph(path: Path, weights: Mapping[str, Tensor]) -> graphs.Graph:
    try:
        return graphs.read(json.loads(path.read_text(encoding="utf-8")), weights)
    except FileNotFoundError as error:
        raise LabError(f"{path.parent} has no {path.name}: the SAE is not whole, save it again") from error
    except (OSError, ValueError, LabError) as error:
        raise LabError(f"{path} is no encoder that can be loaded ({error}): save the SAE again") from error


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LabError(f"{path} is not JSON ({error}): save the SAE again") from error
    if not isinstance(card, dict) or card.get("schema") not in (_BEFORE, SCHEMA):
        raise LabError(f"{path} is not an SAE's description of schema {SCHEMA}: save the SAE again")
    kinds: dict[str, type | tuple[type, ...]] = {"d_in": int, "d_sae": int, "input_scale": (int, float)}
    for name, kind in {**kinds, "architecture": str}.items():
        if not isinstance(card.get(name), kind):
            raise LabError(f"{path}: {name} is missing or of the wrong kind: save the SAE again")
    return card


def _probe(folder: Path, graph: graphs.Graph, weights: Mapping[str, Tensor], b_dec: Tensor) -> Cost:
    """Run the encoder once: it takes the width that sae.json names, and gives what is in its input."""
    d_sae, d_in = weights["W_dec"].shape
    generator = torch.Generator().manual_seed(0)
    rows = torch.rand(3, d_sae, generator=generator) / d_sae**0.5 @ weights["W_dec"]
    rows = rows.to(b_dec.device) + b_dec
    try:
        with torch.no_grad():
            found = graph.rows(rows)
            cost = measure(graph, rows[0], weights)
    except (RuntimeError, TypeError, AssertionError, ValueError, LookupError) as error:
        reason = str(error).strip().splitlines()[0]
        raise LabError(f"{folder}: its encoder does not run at d_in {d_in} ({reason[:200]})") from error
    if not isinstance(found, Tensor) or found.shape != (3, d_sae):
        raise LabError(f"{folder}: its encoder gives the wrong shape {list(found.shape)}")
    if found.any() and (found == found[:1]).all():
        raise LabError(f"{folder / ENCODE} gives the same latents whatever its input is: it is no encoder")
    return cost


def _fingerprint(tensors: Mapping[str, Tensor], text: Sequence[str], facts: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for computation in text:
        digest.update(computation.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().contiguous().numpy().data)
    return digest.hexdigest()[:16]
