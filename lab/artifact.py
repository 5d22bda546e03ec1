"""An SAE on disk: weights, two exported graphs and a description, and no code.

The folder holds `weights.safetensors`, `encode.pt2`, `decode.pt2` and `sae.json`. The graphs take and give raw
activations of the subject model: encode(x) = E(x · s) / s and decode(f) = D(f · s) / s, where E and D are the module's
own methods and s the factor by which its training data were scaled. Where the architecture allows it (its activation
function is positively homogeneous, as ReLU and top-k are) s is folded into the biases, so that the weights are in raw
units too; else `input_scale` in sae.json says what is left of it.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lab import graphs
from lab.errors import LabError

WEIGHTS, ENCODE, DECODE, CARD = "weights.safetensors", "encode.pt2", "decode.pt2", "sae.json"
SCHEMA = 1
UNIT_NORM_TOLERANCE = 1e-5  # SAEBench's own check in float32
_NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")
_IN_LATENT_UNITS = ("b_enc", "b_gate", "b_mag", "threshold")  # what else a known encoder may hold
_CHECK_ROWS = 256
_RELATIVE = 1e-4
_FLIPS = 1e-3  # share of active latents that a rounding error at the edge of the top k may turn on or off


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
        fingerprint: hash of weights and graphs; equal for equal SAEs.
    """

    folder: Path
    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    meta: Mapping[str, Any]
    fingerprint: str
    _encode: nn.Module = field(repr=False)
    _decode: nn.Module = field(repr=False)

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
        acts: Tensor = self._decode(f.to(self.device, torch.float32))
        return acts


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
            be folded into the encoder; the graphs cannot be exported or disagree with the module; the disk is full.
    """
    copied = _cpu_copy(module)
    d_sae, d_in = _check_module(copied)
    acts = sample_acts[:_CHECK_ROWS].detach().to("cpu", torch.float32)
    if acts.ndim != 2 or acts.shape[0] < 2 or acts.shape[1] != d_in:
        raise LabError(f"sample_acts must be [at least 2, {d_in}], not {list(acts.shape)}")
    with torch.no_grad():
        latents, output = _run(copied, acts * input_scale, d_sae)
        unit = _with_unit_rows(copied, acts * input_scale, latents, output)
        latents, output = _run(unit, acts * input_scale, d_sae)
        latents, output = latents / input_scale, output / input_scale
        raw, scale = _in_raw_units(unit, input_scale, acts, latents, output)
    programs = {
        ENCODE: graphs.export(raw, "encode", acts, scale),
        DECODE: graphs.export(raw, "decode", latents, scale),
    }
    with torch.no_grad():
        same = _agree(programs[ENCODE].module()(acts), latents) and _agree(programs[DECODE].module()(latents), output)
    if not same:
        raise LabError("the exported graph disagrees with the module: encode() and decode() must not keep state")
    state = {name: getattr(raw, name) for name in _NAMES}
    for program in programs.values():
        state.update(graphs.state(program))
    card = {**meta, "schema": SCHEMA, "d_in": d_in, "d_sae": d_sae, "input_scale": scale}
    return _write(Path(folder), state, programs, card)


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


def _run(module: Any, acts: Tensor, d_sae: int) -> tuple[Tensor, Tensor]:
    latents = module.encode(acts)
    if not isinstance(latents, Tensor) or latents.shape != (acts.shape[0], d_sae):
        got = list(latents.shape) if isinstance(latents, Tensor) else type(latents).__name__
        raise LabError(f"encode() must give one tensor of shape [batch, {d_sae}], it gave {got}")
    output = module.decode(latents)
    if not isinstance(output, Tensor) or output.shape != acts.shape:
        got = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise LabError(f"decode() must give one tensor of shape [batch, {acts.shape[1]}], it gave {got}")
    if not (torch.isfinite(latents).all() and torch.isfinite(output).all()):
        raise LabError("the SAE gives values that are not finite (NaN or infinity) on real activations")
    if latents.any() and (latents == latents[:1]).all():
        raise LabError("encode() gives the same latents whatever its input is: it must depend on the activations")
    # The evaluations read a latent's effect off its decoder row, so decode() may do nothing else.
    if not _close(output, latents @ module.W_dec + module.b_dec):
        raise LabError("decode() must be latents @ W_dec + b_dec: the evaluations take W_dec for what a latent does")
    return latents, output


def _close(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() <= _RELATIVE * expected.abs().max() + 1e-12)


def _agree(found: Tensor, expected: Tensor) -> bool:
    """Equal up to rounding, where rounding may also swap two latents at the edge of a top k."""
    limit = _RELATIVE * expected.abs() + 1e-5 * expected.abs().max()
    wrong = ((found - expected).abs() > limit).sum()
    return bool(wrong <= _FLIPS * (expected != 0).sum())


def _with_unit_rows(module: Any, acts: Tensor, latents: Tensor, output: Tensor) -> Any:
    norms = module.W_dec.norm(dim=1)
    if (norms - 1).abs().max() <= UNIT_NORM_TOLERANCE:
        return module
    fault = f"decoder rows must have norm 1, they have {norms.min():.3g} to {norms.max():.3g}"
    if norms.min() < 1e-8:
        raise LabError(f"{fault}: a row of zeros has no direction; normalise W_dec after each step")
    folded = copy.deepcopy(module)
    folded.W_dec.data /= norms[:, None]
    folded.W_enc.data *= norms
    _scale_latents(folded, norms)
    try:
        new_latents, new_output = _run(folded, acts, len(norms))
    except LabError:
        new_latents, new_output = torch.zeros_like(latents), torch.full_like(output, float("nan"))
    if not (_agree(new_latents, latents * norms) and _agree(new_output, output)):
        raise LabError(
            f"{fault}, and folding the norms into the encoder changes what this architecture computes: "
            "normalise W_dec after each step"
        )
    return folded


def _in_raw_units(module: Any, scale: float, acts: Tensor, latents: Tensor, output: Tensor) -> tuple[Any, float]:
    """The module with the input scale folded into its biases and 1, or, where that changes it, itself and the scale."""
    if scale == 1.0:
        return module, 1.0
    raw = copy.deepcopy(module)
    raw.b_dec.data /= scale
    _scale_latents(raw, torch.tensor(1 / scale))
    new_latents = raw.encode(acts)
    if _agree(new_latents, latents) and _agree(raw.decode(latents), output):
        return raw, 1.0
    return module, scale


def _scale_latents(module: Any, factor: Tensor) -> None:
    """Scale the encoder's biases and thresholds, which are in units of the latents: by one number, or each by its own.

    One number for all latents cannot take up a factor for each; the caller finds out, because the result differs.
    """
    for name in _IN_LATENT_UNITS:
        tensor = getattr(module, name, None)
        if isinstance(tensor, Tensor) and (factor.ndim == 0 or tensor.shape == factor.shape):
            tensor.data *= factor


def _write(folder: Path, state: dict[str, Tensor], programs: Mapping[str, Any], card: dict[str, Any]) -> Artifact:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.part-"))
    except OSError as error:
        raise LabError(f"cannot write {folder}: {error.strerror}") from error
    try:
        part.chmod(0o755)
        save_file({name: tensor.detach().contiguous().clone() for name, tensor in state.items()}, part / WEIGHTS)
        (part / WEIGHTS).chmod(0o644)
        for name, program in programs.items():
            graphs.write(program, part / name)
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
    for name in (CARD, WEIGHTS, ENCODE, DECODE):
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
    programs = {name: graphs.read(folder / name) for name in (ENCODE, DECODE)}
    for name, program in programs.items():
        if not graphs.uses_input(program):
            raise LabError(f"{folder / name} ignores its input: it is no part of an SAE")
        for key, tensor in graphs.state(program).items():
            if key not in weights or not torch.equal(tensor, weights[key]):
                raise LabError(f"{folder / name} disagrees with {WEIGHTS} in {key}: the files are of different SAEs")
    fingerprint = _fingerprint(weights, programs, {"d_in": d_in, "d_sae": d_sae, "input_scale": scale})
    if torch.device(device).type != "cpu":
        programs = {name: graphs.read(folder / name, device) for name in (ENCODE, DECODE)}
    on_device = {name: weights[name].to(device) for name in _NAMES}
    on_device["b_enc"], on_device["b_dec"] = on_device["b_enc"] / scale, on_device["b_dec"] / scale
    encode, decode = (programs[name].module() for name in (ENCODE, DECODE))
    artifact = Artifact(folder, **on_device, meta=card, fingerprint=fingerprint, _encode=encode, _decode=decode)
    _probe(artifact)
    return artifact


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LabError(f"{path} is not JSON ({error}): save the SAE again") from error
    if not isinstance(card, dict) or card.get("schema") != SCHEMA:
        raise LabError(f"{path} is not an SAE's description of schema {SCHEMA}: save the SAE again")
    kinds: dict[str, type | tuple[type, ...]] = {"d_in": int, "d_sae": int, "input_scale": (int, float)}
    for name, kind in {**kinds, "architecture": str}.items():
        if not isinstance(card.get(name), kind):
            raise LabError(f"{path}: {name} is missing or of the wrong kind: save the SAE again")
    return card


def _probe(artifact: Artifact) -> None:
    """Run both graphs once: they take the width that sae.json names, and the decoder does what W_dec says."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.rand(3, artifact.d_sae, generator=generator) / artifact.d_sae**0.5
    try:
        with torch.no_grad():
            output = artifact.decode(latents)
            found = artifact.encode(output)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise LabError(f"{artifact.folder}: its graphs do not run at d_in {artifact.d_in} ({reason[:200]})") from error
    if output.shape != (3, artifact.d_in) or found.shape != (3, artifact.d_sae):
        raise LabError(f"{artifact.folder}: its graphs give the wrong shapes {list(found.shape)}, {list(output.shape)}")
    if found.any() and (found == found[:1]).all():
        raise LabError(f"{artifact.folder / ENCODE} gives the same latents whatever its input is: it is no encoder")
    if not _close(output, latents.to(artifact.device) @ artifact.W_dec + artifact.b_dec):
        raise LabError(f"{artifact.folder / DECODE} does not compute latents @ W_dec + b_dec of {WEIGHTS}")


def _fingerprint(weights: Mapping[str, Tensor], programs: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    tensors = dict(weights)
    for name, program in programs.items():
        digest.update(graphs.text(program).encode())
        tensors.update({f"{name}/{key}": value for key, value in program.constants.items()})
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().contiguous().numpy().data)
    return digest.hexdigest()[:16]
