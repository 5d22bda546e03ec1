"""SAEs in SAELens' own format, so that they can be published: `SAE.load_from_disk(folder)` reads them."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lab import artifact
from lab.artifact import Artifact
from lab.errors import LabError

_SAE_LENS = "6.0.0"  # the first version whose settings have this form
_TOLERANCE = 1e-5
_ROWS = 64

Tensors = dict[str, Tensor]


def to_sae_lens(folder_in: str | Path, folder_out: str | Path) -> Path:
    """Write an SAE as SAELens' `cfg.json` and `sae_weights.safetensors`.

    Architectures: topk; relu, which is called "standard" there; gated (with b_mag and r_mag); jumprelu, batchtopk and
    matryoshka, which at inference all are a ReLU above a threshold, and are called "jumprelu" there. What is written is
    computed by SAELens' formula and must agree with the exported graph.

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
    if sae.architecture not in _FORMS:
        raise LabError(
            f"SAELens has no form for the architecture {sae.architecture!r}: {', '.join(_FORMS)} can be written"
        )
    form, read, encode = _FORMS[sae.architecture]
    stored = load_file(sae.folder / artifact.WEIGHTS)
    try:
        weights, settings = read(sae, stored)
    except KeyError as error:
        raise LabError(f"{sae.folder}: an SAE of architecture {sae.architecture!r} needs {error.args[0]}") from error
    weights = {name: tensor.contiguous() for name, tensor in weights.items()}
    _check(sae, encode(weights, settings))
    cfg = {
        "architecture": form,
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        **settings,
        "metadata": _metadata(sae.meta),
    }
    _write(target, weights, cfg)
    return target


def _metadata(meta: Mapping[str, Any]) -> dict[str, Any]:
    facts = {"sae_lens_version": _SAE_LENS, "training_tokens": meta.get("tokens"), "context_size": meta.get("context")}
    facts["model_name"] = meta.get("subject", {}).get("name")
    facts["hook_name"] = meta.get("hook")
    return {name: value for name, value in facts.items() if value is not None}


def _plain(sae: Artifact, stored: Tensors) -> tuple[Tensors, dict[str, Any]]:
    return {"W_enc": sae.W_enc, "b_enc": sae.b_enc, "W_dec": sae.W_dec, "b_dec": sae.b_dec}, {}


def _topk(sae: Artifact, stored: Tensors) -> tuple[Tensors, dict[str, Any]]:
    k = sae.meta.get("k") or sae.meta.get("settings", {}).get("k")
    if not isinstance(k, int):
        raise KeyError("k in sae.json")
    return _plain(sae, stored)[0], {"k": k, "rescale_acts_by_decoder_norm": False}


def _above(sae: Artifact, stored: Tensors) -> tuple[Tensors, dict[str, Any]]:
    threshold = stored["threshold"] / float(sae.meta["input_scale"])
    return {**_plain(sae, stored)[0], "threshold": threshold.expand(sae.d_sae).clone()}, {}


def _gated(sae: Artifact, stored: Tensors) -> tuple[Tensors, dict[str, Any]]:
    scale = float(sae.meta["input_scale"])
    weights = _plain(sae, stored)[0]
    bias = weights.pop("b_enc")
    weights["b_gate"] = stored["b_gate"] / scale if "b_gate" in stored else bias
    weights["b_mag"], weights["r_mag"] = stored["b_mag"] / scale, stored["r_mag"]
    return weights, {}


def _encode_relu(w: Tensors, settings: Mapping[str, Any]) -> Callable[[Tensor], Tensor]:
    return lambda x: ((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu()


def _encode_topk(w: Tensors, settings: Mapping[str, Any]) -> Callable[[Tensor], Tensor]:
    def encode(x: Tensor) -> Tensor:
        values, columns = ((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).topk(settings["k"], dim=-1)
        return torch.zeros(x.shape[0], w["W_enc"].shape[1]).scatter(1, columns, values.relu())

    return encode


def _encode_above(w: Tensors, settings: Mapping[str, Any]) -> Callable[[Tensor], Tensor]:
    def encode(x: Tensor) -> Tensor:
        pre = (x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]
        return pre.relu() * (pre > w["threshold"])

    return encode


def _encode_gated(w: Tensors, settings: Mapping[str, Any]) -> Callable[[Tensor], Tensor]:
    def encode(x: Tensor) -> Tensor:
        along = (x - w["b_dec"]) @ w["W_enc"]
        return (along * w["r_mag"].exp() + w["b_mag"]).relu() * (along + w["b_gate"] > 0)

    return encode


_Read = Callable[[Artifact, Tensors], tuple[Tensors, dict[str, Any]]]
_Encode = Callable[[Tensors, Mapping[str, Any]], Callable[[Tensor], Tensor]]
_FORMS: dict[str, tuple[str, _Read, _Encode]] = {
    "topk": ("topk", _topk, _encode_topk),
    "relu": ("standard", _plain, _encode_relu),
    "jumprelu": ("jumprelu", _above, _encode_above),
    "batchtopk": ("jumprelu", _above, _encode_above),
    "matryoshka": ("jumprelu", _above, _encode_above),
    "gated": ("gated", _gated, _encode_gated),
}


def _check(sae: Artifact, encode: Callable[[Tensor], Tensor]) -> None:
    """Compare on inputs made of a few latents' directions; a latent at an edge may round either way."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        chosen = torch.rand(_ROWS, sae.d_sae, generator=generator) < 8 / sae.d_sae
        size = 1 + sae.b_dec.norm() + sae.b_enc.abs().max()
        acts = sae.b_dec + (chosen * torch.rand(_ROWS, sae.d_sae, generator=generator) * size) @ sae.W_dec
        expected, found = sae.encode(acts), encode(acts)
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
        save_file(weights, part / "sae_weights.safetensors")
        (part / "cfg.json").write_text(json.dumps(cfg, indent=1) + "\n", encoding="utf-8")
        part.rename(target)
    except OSError as error:
        raise LabError(f"cannot write {target}: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
