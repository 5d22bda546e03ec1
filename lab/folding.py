"""Folding of decoder norms and of the input scale into an SAE's encoder, checked on real activations."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from lab.errors import LabError

UNIT_NORM_TOLERANCE = 1e-5  # SAEBench's own check in float32
_IN_LATENT_UNITS = ("b_enc", "b_gate", "b_mag", "threshold")  # what else a known encoder may hold
_RELATIVE = 1e-4
_FLIPS = 1e-3  # share of active latents that a rounding error at the edge of the top k may turn on or off


def latents_and_output(module: Any, acts: Tensor, d_sae: int) -> tuple[Tensor, Tensor]:
    """Run a module and check what it gives.

    Args:
        module: with encode and decode.
        acts: [n, d_in]
        d_sae: latents that it must give.

    Returns:
        Latents [n, d_sae] and reconstructions [n, d_in].

    Raises:
        LabError: they are misshapen, not finite or the same for every row, or decode is not latents @ W_dec + b_dec.
    """
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


def agree(found: Tensor, expected: Tensor) -> bool:
    """Tell whether numbers are equal up to rounding, which may also swap two latents at the edge of a top k."""
    limit = _RELATIVE * expected.abs() + 1e-5 * expected.abs().max()
    wrong = ((found - expected).abs() > limit).sum()
    return bool(wrong <= _FLIPS * (expected != 0).sum())


def with_unit_rows(module: Any, acts: Tensor, latents: Tensor, output: Tensor) -> Any:
    """The module with decoder rows of norm 1; norms that are others are folded into its encoder.

    Args:
        module: as `lab.artifact.save` takes it.
        acts: [n, d_in]
        latents: [n, d_sae] of them.
        output: [n, d_in] of these.

    Raises:
        LabError: a row is zero, or folding changes what the module computes.
    """
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
        new_latents, new_output = latents_and_output(folded, acts, len(norms))
    except LabError:
        new_latents, new_output = torch.zeros_like(latents), torch.full_like(output, float("nan"))
    if not (agree(new_latents, latents * norms) and agree(new_output, output)):
        raise LabError(
            f"{fault}, and folding the norms into the encoder changes what this architecture computes: "
            "normalise W_dec after each step"
        )
    return folded


def in_raw_units(module: Any, scale: float, acts: Tensor, latents: Tensor, output: Tensor) -> tuple[Any, float]:
    """The module with the input scale folded into its biases and 1, or, where that changes it, itself and the scale.

    Args:
        module: as `lab.artifact.save` takes it.
        scale: the factor from raw activations to those that it was trained on.
        acts: [n, d_in] raw activations.
        latents: [n, d_sae] of them, in raw units.
        output: [n, d_in] of these, in raw units.
    """
    if scale == 1.0:
        return module, 1.0
    raw = copy.deepcopy(module)
    raw.b_dec.data /= scale
    _scale_latents(raw, torch.tensor(1 / scale))
    new_latents = raw.encode(acts)
    if agree(new_latents, latents) and agree(raw.decode(latents), output):
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
