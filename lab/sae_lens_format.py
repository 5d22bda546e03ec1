"""SAEs in SAELens' own format, `cfg.json` and `sae_weights.safetensors`: written to be published, read to be scored."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lab import artifact
from lab.architectures import TABLE, load
from lab.architectures.base import SAE
from lab.artifact import Artifact
from lab.errors import LabError
from lab.foreign import Foreign, folded, read_settings, subtracting_bias

WEIGHTS, SETTINGS = "sae_weights.safetensors", "cfg.json"

_SAE_LENS = "6.0.0"  # the first version whose settings have this form
_TOLERANCE = 1e-5
_ROWS = 64

Tensors = dict[str, Tensor]


def to_sae_lens(folder_in: str | Path, folder_out: str | Path) -> Path:
    """Write an SAE as SAELens' `cfg.json` and `sae_weights.safetensors`.

    Architectures: topk; relu, which is called "standard" there; gated; jumprelu, batchtopk and matryoshka, which at
    inference all are a ReLU above a threshold, and are called "jumprelu" there. What is written must compute what the
    exported graphs do.

    Args:
        folder_in: as `lab.artifact.save` writes it.
        folder_out: a new folder.

    Returns:
        folder_out.

    Raises:
        LabError: the SAE is damaged, its architecture has no form there or differs from what it is called, or the
            folder is there already or cannot be written.
    """
    sae = artifact.load(Path(folder_in))
    target = Path(folder_out)
    if target.exists():
        raise LabError(f"{target} is there already: give a new folder")
    if sae.architecture not in (forms := _forms()).values():
        raise LabError(
            f"SAELens has no form for the architecture {sae.architecture!r}: {', '.join(forms.values())} can be written"
        )
    architecture = load(sae.architecture)
    try:
        module = architecture.sae(_in_raw_units(sae), _active(sae.meta))
    except LabError as error:
        raise LabError(f"{sae.folder}, called {sae.architecture!r}: {error}") from error
    _check(sae, module)
    weights = {name: tensor.detach().contiguous() for name, tensor in module.state_dict().items()}
    if "latent_norms" in weights:
        weights["W_dec"] = weights["W_dec"] * weights.pop("latent_norms")[:, None]
    for ours, theirs in architecture.renamed.items():
        weights[theirs] = weights.pop(ours)
    cfg: dict[str, Any] = {
        "architecture": architecture.sae_lens,
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": _metadata(sae, architecture.trained_as),
    }
    if module.k is not None:
        cfg |= {"k": module.k, "rescale_acts_by_decoder_norm": False}
    _write(target, weights, cfg)
    return target


def _active(meta: Mapping[str, Any]) -> int | None:
    k = meta.get("k") or meta.get("settings", {}).get("k")
    return k if isinstance(k, int) else None


def _in_raw_units(sae: Artifact) -> Tensors:
    """All that the encoder may hold, for raw activations; biases and thresholds are in units of the latents."""
    stored = load_file(sae.folder / artifact.WEIGHTS)
    scale = float(sae.meta["input_scale"])
    weights = {"W_enc": sae.W_enc, "b_enc": sae.b_enc, "W_dec": sae.W_dec, "b_dec": sae.b_dec}
    for name in ("b_mag", "threshold"):
        if name in stored:
            weights[name] = (stored[name] / scale).expand(sae.d_sae).clone()
    if "b_gate" in stored:
        weights["b_enc"] = stored["b_gate"] / scale
    return weights | {name: stored[name] for name in ("r_mag", "latent_norms") if name in stored}


def _forms() -> dict[str, str]:
    """Their names and ours. A batch top k is a threshold once it is trained; theirs says so in the metadata."""
    described = sorted(((name, load(name)) for name in TABLE), key=lambda each: bool(each[1].trained_as))
    return {about.trained_as or about.sae_lens: name for name, about in described if about.sae_lens}


def _metadata(sae: Artifact, trained_as: str) -> dict[str, Any]:
    meta = sae.meta
    facts = {
        "sae_lens_version": _SAE_LENS,
        "training_tokens": meta.get("tokens"),
        "context_size": meta.get("context"),
        "model_name": meta.get("subject", {}).get("name"),
        "hook_name": meta.get("hook"),
        "training_architecture": trained_as or None,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _check(sae: Artifact, module: SAE) -> None:
    """Compare on inputs made of a few latents' directions; a latent at an edge may round either way."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        chosen = torch.rand(_ROWS, sae.d_sae, generator=generator) < 8 / sae.d_sae
        size = 1 + sae.b_dec.norm() + sae.b_enc.abs().max()
        acts = sae.b_dec + (chosen * torch.rand(_ROWS, sae.d_sae, generator=generator) * size) @ sae.W_dec
        expected, found = sae.encode(acts), module.encode(acts)
    wrong = ((found - expected).abs() > _TOLERANCE * (1 + expected.abs())).sum()
    if wrong > 1e-3 * (expected != 0).sum():
        raise LabError(
            f"{sae.folder} is called {sae.architecture!r} and computes something else: it has no form in SAELens"
        )


def _write(target: Path, weights: Tensors, cfg: Mapping[str, Any]) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.part-"))
    except OSError as error:
        raise LabError(f"cannot write {target}: {error.strerror}") from error
    try:
        part.chmod(0o755)
        save_file(weights, part / WEIGHTS)
        (part / SETTINGS).write_text(json.dumps(cfg, indent=1) + "\n", encoding="utf-8")
        part.rename(target)
    except OSError as error:
        raise LabError(f"cannot write {target}: {error.strerror}") from error
    except SafetensorError as error:
        raise LabError(f"cannot write {target}: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def from_sae_lens(folder: Path) -> Foreign:
    """Read an SAE of SAELens, of any version, as it is published or as its trainer leaves it.

    Args:
        folder: where `cfg.json` and `sae_weights.safetensors` lie.

    Raises:
        LabError: a file is missing or damaged; the architecture has no form here; or the SAE changes its input token by
            token (layer norm), so that its decoder is no fixed set of directions.
    """
    cfg = read_settings(folder / SETTINGS)
    architecture, k = _kind(cfg, folder)
    _check_input(cfg, folder)
    try:
        weights = {name: tensor.float() for name, tensor in load_file(folder / WEIGHTS).items()}
    except OSError as error:
        raise LabError(f"cannot read {folder / WEIGHTS}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise LabError(f"{folder / WEIGHTS} is damaged ({error}): fetch the SAE again") from error
    scaling = weights.pop("scaling_factor", None)
    if scaling is not None and not torch.allclose(scaling, torch.ones_like(scaling)):
        raise LabError(f"{folder} has a scaling_factor for its latents: fold it into W_dec and save the SAE again")
    for ours, theirs in load(architecture).renamed.items():
        if theirs in weights:
            weights[ours] = weights.pop(theirs)
    if "W_dec" not in weights or "W_enc" not in weights or "b_enc" not in weights:
        raise LabError(f"{folder / WEIGHTS} lacks W_enc, W_dec or the encoder's bias: fetch the SAE again")
    if "topk_threshold" in weights:
        weights["threshold"] = weights.pop("topk_threshold").expand_as(weights["b_enc"]).clone()
    if cfg.get("rescale_acts_by_decoder_norm"):
        weights = folded(weights)
    if not cfg.get("apply_b_dec_to_input", True) and "b_dec" in weights:
        weights = subtracting_bias(weights)
    scaled = cfg.get("normalize_activations") in (True, "expected_average_only_in")
    return Foreign(architecture, weights, k, _facts(cfg), scaled)


def _kind(cfg: Mapping[str, Any], folder: Path) -> tuple[str, int | None]:
    """The architecture's name here and, for a top k, k. Before version 6 a top k was an activation function."""
    metadata = cfg.get("metadata") or {}
    theirs = cfg.get("architecture", "standard")
    function = cfg.get("activation_fn", cfg.get("activation_fn_str", "relu"))
    if function == "topk":
        return "topk", (cfg.get("activation_fn_kwargs") or {}).get("k")
    if function != "relu":
        raise LabError(f"{folder} has the activation function {function!r}: relu and topk can be read")
    forms = _forms()
    trained = metadata.get("training_architecture")
    if trained in forms and load(forms[trained]).sae_lens == theirs:
        theirs = trained
    if theirs not in forms:
        raise LabError(f"{folder} is a {theirs!r} of SAELens: {', '.join(forms)} can be read")
    return forms[theirs], cfg.get("k") if theirs == "topk" else None


def _check_input(cfg: Mapping[str, Any], folder: Path) -> None:
    how = cfg.get("normalize_activations") or "none"
    if how not in (True, "none", "expected_average_only_in"):
        raise LabError(
            f"{folder} normalises each token by itself (normalize_activations is {how!r}), so a latent has no fixed "
            "direction in the residual stream: it cannot be scored"
        )
    if cfg.get("reshape_activations", "none") != "none":
        raise LabError(f"{folder} reads attention heads (reshape_activations): only the residual stream is scored")


def _facts(cfg: Mapping[str, Any]) -> dict[str, Any]:
    metadata: Mapping[str, Any] = cfg.get("metadata") or {}
    old: Callable[[str], Any] = cfg.get
    name = metadata.get("model_name") or old("model_name")
    facts = {
        "hook": metadata.get("hook_name") or old("hook_name") or old("hook_point"),
        "subject": {"name": name} if name else None,
        "tokens": metadata.get("training_tokens") or old("training_tokens"),
        "context": metadata.get("context_size") or old("context_size"),
        "settings": dict(cfg),
    }
    return {key: value for key, value in facts.items() if value is not None}
