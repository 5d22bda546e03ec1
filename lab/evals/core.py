"""Core metrics: what a reconstruction keeps of the model's behaviour and of the residual stream, and how sparse it is.

Names and most definitions are those of SAEBench 0.6.0 (Karvonen et al. 2025, arXiv:2503.09532), which took them from
SAELens. Residuals at the hook, the loss without the SAE and both ablation figures depend on no SAE: they are set-up. A
score encodes, decodes and runs only the layers after the hook.

What means something else here than there, and SAEBench's own number, kept so that numbers compare:
- ``explained_variance`` is the centred one, 1 - Σ‖x - x_hat‖² / Σ‖x - mean x‖² over all tokens, as SAELens and
  dictionary_learning report it; ``fraction_variance_unexplained`` is 1 minus that. ``explained_variance_saebench``
  subtracts the squared mean of x² (over tokens and coordinates) from E‖x‖², not the squared mean of x: it is close to
  1 - E‖x - x_hat‖² / E‖x‖², depends on the scale of x, and is left out where its denominator is not positive.
- ``mse`` is the squared error of a token, summed over coordinates, averaged over tokens. ``mse_saebench`` is divided by
  the number of tokens in a batch once more, so it depends on `batch_size`.

SAEBench's quirks that are kept:
- ``explained_variance_legacy`` is a mean over tokens of per-token ratios, around the mean of `batch_size` texts.
- a score is (ablation - sae) / (ablation - clean); a latent counts in densities when above 0, in l0 when not 0.

What differs, by choice:
- With `skip_outliers` (the embedded profile) massive activations and position 0 are neither replaced, ablated nor
  measured, as they are not trained on; without it only special tokens are, and the ablation zeroes every position.
- Padding is never a target of the cross-entropy.
- Losses are computed in float32 whatever the model's dtype, and the SAE runs in float32.
- The cosine of a zero reconstruction counts as 0; a ratio without a denominator is left out and named.
- ``negative_share`` (of the active latents, those below 0) and ``always_on`` (latents that are not 0 on over 90% of the
  tokens) are added: an L0 says less of a code in which a latent stands for two directions, or for none in particular.
- ``delta_ce`` (nats a token, sae - clean) is added: with an ablated loss of 11 to 16 nats the score saturates near 1.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lab import cache
from lab.errors import LabError
from lab.evals import splice
from lab.evals.base import Context, Scores
from lab.evals.metric import Metric
from lab.evals.sums import Sums, finite, ratio
from lab.progress import track

if TYPE_CHECKING:
    from lab.artifact import Artifact

_PAPER = "arXiv:2503.09532"
_GATED = "arXiv:2404.16014"
_FILE, _RESIDUALS = "setup.safetensors", "residuals.bin"
_UNDEFINED = "its denominator is not positive for this SAE"
_NOT_ASKED = "no text is run through the model (reconstruction_batches = 0)"

_CE = ("cross-entropy", "cross-entropy loss", "CE loss")
_DELTA_CE = (
    *("delta CE", "ΔCE", "Δ CE", "cross-entropy increase", "increase in cross-entropy", "increase of cross-entropy"),
    *(f"{loss} {verb}" for loss in _CE for verb in ("rises", "increases", "goes up")),
)
_RECOVERED = ("loss recovered", "CE loss recovered", "CE score", "cross-entropy score", "cross-entropy loss score")
_EXPLAINED = ("variance explained", "fraction of variance explained", "explain … of the variance", "EV")
_QUALITY = ("reconstruction", "reconstruction quality", "reconstruction fidelity", "fidelity", "reconstructs")
_ERROR = ("reconstruction error", "reconstruction loss")
_ALIVE = ("alive latents", "live latents", "alive features", "live features")
_DENSE = ("dense latents", "dense features")


def _shares(*names: str) -> tuple[str, ...]:
    return tuple(f"{share}{name}" for share in ("", "share of ", "fraction of ") for name in names)


def _similarity(of: str) -> tuple[str, ...]:
    return tuple(f"{largest} {of} cosine similarity" for largest in ("max", "maximum", "maximal"))


METRICS: dict[str, Metric] = {
    "ce_loss_score": Metric("higher", "", _PAPER, headline=True, names=_RECOVERED, matters=0.002),
    "ce_loss_with_sae": Metric("lower", "nats", _PAPER, names=_CE),
    "ce_loss_without_sae": Metric(None, "nats", _PAPER, names=_CE, of_sae=False),
    "ce_loss_with_ablation": Metric(None, "nats", _PAPER, names=_CE, of_sae=False),
    "delta_ce": Metric("lower", "nats", "", headline=True, names=(*_DELTA_CE, *_CE, *_QUALITY), matters=0.05),
    "kl_div_score": Metric("higher", "", _PAPER, names=("KL score", "KL divergence score")),
    "kl_div_with_sae": Metric(
        "lower", "nats", _PAPER, headline=True, names=("KL", "KL divergence", "KL div"), matters=0.03
    ),
    "kl_div_with_ablation": Metric(None, "nats", _PAPER, of_sae=False),
    "explained_variance": Metric("higher", "", headline=True, names=(*_EXPLAINED, *_QUALITY), matters=0.003),
    "explained_variance_saebench": Metric("higher", "", _PAPER, names=("SAEBench's explained variance",)),
    "explained_variance_legacy": Metric("higher", "", _PAPER),
    "fraction_variance_unexplained": Metric(
        "lower", "", names=("fraction of variance unexplained", "unexplained variance", "FVU", *_ERROR)
    ),
    "mse": Metric("lower", "", names=("mean squared error", "MSE loss", *_ERROR)),
    "mse_saebench": Metric("lower", "", _PAPER, names=("SAEBench's MSE",)),
    "cossim": Metric("higher", "", _PAPER, headline=True, names=("cosine similarity", "cosine"), matters=0.001),
    "l2_norm_in": Metric(None, "", _PAPER, of_sae=False),
    "l2_norm_out": Metric(None, "", _PAPER),
    "l2_ratio": Metric(None, "", _PAPER, headline=True, names=("norm ratio", "ratio of norms")),
    "relative_reconstruction_bias": Metric(None, "", _GATED),
    "l0": Metric(None, "latents", _PAPER, headline=True, names=("L 0", "number of active latents")),
    "negative_share": Metric(None, "", names=("share of negative latents", "latents of either sign")),
    "always_on": Metric(None, "latents", names=("latents that are always on",)),
    "l1": Metric(None, "", _PAPER),
    "frac_alive": Metric("higher", "", _PAPER, headline=True, names=_shares(*_ALIVE)),
    "freq_over_1_percent": Metric(None, "", _PAPER),
    "freq_over_10_percent": Metric("lower", "", _PAPER, names=_shares(*_DENSE)),
    "normalized_freq_over_1_percent": Metric(None, "", _PAPER),
    "normalized_freq_over_10_percent": Metric("lower", "", _PAPER),
    "average_max_encoder_cosine_sim": Metric("lower", "", _PAPER, names=_similarity("encoder")),
    "average_max_decoder_cosine_sim": Metric("lower", "", _PAPER, names=_similarity("decoder")),
}


@dataclass(frozen=True)
class Settings:
    """SAEBench's defaults.

    `batch_size` is in texts of the profile's context; `reconstruction_batches` are run through the model,
    `sparsity_batches` through the SAE only (the first of them are the same texts); without reconstruction batches the
    model is not loaded for a score and there are no losses. `skip_outliers` leaves massive activations out.
    """

    batch_size: int = 16
    reconstruction_batches: int = 200
    sparsity_batches: int = 2000
    skip_outliers: bool = False


@dataclass(frozen=True)
class Setup:
    """The set-up: N texts of ctx tokens, of which the first n go through the model.

    `tokens` and `mask` (positions that are replaced and measured) are [N, ctx], `resid` is [N, ctx, d_model], in the
    model's dtype and mapped from disk. [n, ctx] are `predicts` (where the next token counts) and, in nats, `clean_ce`,
    `ablated_ce`, `ablated_kl`. For `mean_unembedding` and `clean_gap` see `lab.evals.splice`.
    """

    tokens: Tensor
    mask: Tensor
    resid: Tensor
    predicts: Tensor
    clean_ce: Tensor
    ablated_ce: Tensor
    ablated_kl: Tensor
    mean_unembedding: Tensor | None = None
    clean_gap: Tensor | None = None

    @property
    def d_model(self) -> int:
        """Width of the residuals."""
        return self.resid.shape[-1]


def data(ctx: Context, settings: Settings) -> str:
    """The held-out text."""
    return ctx.corpus.fingerprint


def prepare(ctx: Context, settings: Settings) -> Setup:
    """Residuals and clean and ablated losses of the held-out text, from the cache when they are there.

    Raises:
        LabError: there is too little text, or a setting makes no sense.
    """
    if min(settings.batch_size, settings.sparsity_batches) < 1 or settings.reconstruction_batches < 0:
        raise LabError(
            "evals.core: batch_size and sparsity_batches must be at least 1, reconstruction_batches at least 0"
        )
    if settings.sparsity_batches < settings.reconstruction_batches:
        raise LabError("evals.core: sparsity_batches must not be below reconstruction_batches")

    fields = (field.name for field in dataclasses.fields(settings))
    build = partial(_build, ctx, settings)
    folder = ctx.cached("core", sys.modules[__name__], settings, fields, build)
    found = load_file(folder / _FILE)
    return Setup(resid=_mapped(folder, found["tokens"], ctx.dtype), **found)


def _build(ctx: Context, settings: Settings, folder: Path) -> None:
    """Fill a folder. Residuals (19 GB at SAEBench's defaults on gemma-2-2b) go to disk batch by batch."""
    subject, size = ctx.subject, settings.batch_size
    tokens = ctx.held_out(size * settings.sparsity_batches)
    spliced = size * settings.reconstruction_batches
    cache.check_space(folder, tokens.numel() * subject.d_model * subject.dtype.itemsize, "the residuals of core")
    norms = []
    with (folder / _RESIDUALS).open("wb") as stream:
        for batch in track(tokens.split(size), "set-up of core: residuals"):
            part = subject.residuals(batch)
            norms.append(part.float().norm(dim=-1).cpu())
            stream.write(part.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    resid = _mapped(folder, tokens, ctx.dtype)
    special = torch.isin(tokens, subject.special_ids.cpu())
    mask, ablated = ~special, torch.ones_like(special)
    if settings.skip_outliers:
        limits = ctx.profile.activations
        # Norms are all that is asked of residuals here; a norm is the norm of itself.
        long = torch.cat(norms)[..., None]
        mask = subject.usable(long, tokens, outlier_factor=limits.outlier_factor, drop_first=limits.drop_first)
        ablated = mask
    predicts = mask[:spliced].clone()
    predicts[:, -1] = False
    predicts[:, :-1] &= ~special[:spliced, 1:]
    if spliced and not predicts.any():
        raise LabError("evals.core: the held-out text has no position that may be replaced: use longer texts")
    found = {"tokens": tokens, "mask": mask, "predicts": predicts}
    if spliced:
        found |= splice.reference(subject, tokens[:spliced], resid[:spliced], ablated[:spliced])
    else:
        found |= {name: torch.zeros(0, tokens.shape[1]) for name in ("clean_ce", "ablated_ce", "ablated_kl")}
    save_file({name: tensor.contiguous() for name, tensor in found.items()}, folder / _FILE)


def _mapped(folder: Path, tokens: Tensor, dtype: str) -> Tensor:
    """The residuals of tokens [N, ctx], mapped from disk: only the rows that are read come into memory."""
    path, kind = folder / _RESIDUALS, getattr(torch, dtype)
    size = path.stat().st_size // kind.itemsize
    return torch.from_file(str(path), shared=False, size=size, dtype=kind).view(*tokens.shape, -1)


def score(ctx: Context, setup: Setup, sae: Artifact, settings: Settings) -> Scores:
    """Every metric of METRICS for one SAE.

    Args:
        ctx: the call's context; its subject is run from the hooked layer on.
        setup: from `prepare`.
        sae: takes and gives raw residuals.
        settings: those that `setup` was made with.
    """
    sums = Sums(sae.d_sae)
    spliced = len(setup.clean_ce)
    ces, kls = [], []
    batches = range(0, len(setup.tokens), settings.batch_size)
    with torch.no_grad():
        for start in track(batches, "scoring: core"):
            rows = slice(start, start + settings.batch_size)
            mask = setup.mask[rows].to(sae.device)
            clean = setup.resid[rows].to(sae.device)
            x = clean[mask].float()
            acts = sae.encode(x)
            x_hat = sae.decode(acts)
            sums.add(x, acts, x_hat)
            if start >= spliced:
                continue
            resid = clean.clone()
            resid[mask] = x_hat.to(resid.dtype)
            linear = (part if part is None else part[rows] for part in (setup.mean_unembedding, setup.clean_gap))
            ce, kl = splice.losses(ctx.subject, setup.tokens[rows], clean, resid, _lengths(setup.mask[rows]), *linear)
            ces.append(ce)
            kls.append(kl)
    metrics = sums.metrics() | (_behaviour(setup, torch.cat(ces), torch.cat(kls)) if ces else {})
    metrics["average_max_encoder_cosine_sim"] = _mean_max_cosine(sae.W_enc.T)
    metrics["average_max_decoder_cosine_sim"] = _mean_max_cosine(sae.W_dec)
    details = {
        "tokens_through_model": int(setup.mask[:spliced].sum()),
        "tokens_through_sae": sums.tokens,
        "tokens_left_out": int((~setup.mask).sum()),
        "left_out": "position 0, massive activations, special tokens" if settings.skip_outliers else "special tokens",
        "density": sums.histogram(),
        "undefined": {
            name: _UNDEFINED if name in metrics else _NOT_ASKED
            for name in METRICS
            if not finite(metrics.get(name, math.nan))
        },
    }
    return Scores({name: metrics[name] for name in METRICS if finite(metrics.get(name, math.nan))}, details)


def _behaviour(setup: Setup, ce: Tensor, kl: Tensor) -> dict[str, float]:
    """Model-behaviour metrics from the losses with the SAE, [n, ctx] each."""
    mask = setup.mask[: len(kl)]
    kl_sae, kl_ablated = (_mean(x, mask) for x in (kl, setup.ablated_kl))
    ce_sae, ce_clean, ce_ablated = (_mean(x, setup.predicts) for x in (ce, setup.clean_ce, setup.ablated_ce))
    return {
        "kl_div_score": ratio(kl_ablated - kl_sae, kl_ablated),
        "kl_div_with_ablation": kl_ablated,
        "kl_div_with_sae": kl_sae,
        "ce_loss_score": ratio(ce_ablated - ce_sae, ce_ablated - ce_clean),
        "ce_loss_with_ablation": ce_ablated,
        "ce_loss_with_sae": ce_sae,
        "ce_loss_without_sae": ce_clean,
        "delta_ce": ce_sae - ce_clean,
    }


def _lengths(mask: Tensor) -> Tensor:
    """Positions up to the last that counts, [n] for a mask [n, ctx]."""
    return (mask * torch.arange(1, mask.shape[1] + 1)).amax(1)


def _mean(values: Tensor, mask: Tensor) -> float:
    return values[mask].double().mean().item()


def _mean_max_cosine(rows: Tensor, step: int = 1024) -> float:
    """Mean over rows [n, d] of the largest cosine with another row."""
    unit = torch.nn.functional.normalize(rows.float(), dim=1)
    total = 0.0
    for start in range(0, len(unit), step):
        cosines = unit[start : start + step] @ unit.T
        own = torch.arange(len(cosines), device=unit.device)
        cosines[own, own + start] = -torch.inf
        total += cosines.max(1).values.sum(dtype=torch.float64).item()
    return total / len(unit)
