"""Minimum description length: bits a token that latents take when each is written as one of a few levels.

Ayonrinde et al. 2024 (arXiv:2410.11179), as SAEBench 0.6.0 computes it. A latent's range, from 0 to its largest
activation, is cut into `num_bins` bins of equal width. A token costs the entropy of "does it fire", plus, with the
probability that it fires, the entropy of the histogram; ``description_length`` is the sum over latents. Quantised to
the middle of their bins, the `k` largest latents of each token are decoded; ``mse_loss`` is the root of the mean
squared error divided by d_in. Of all pairs of num_bins and k the shortest description whose ``mse_loss`` is below
`mse_epsilon_threshold` is reported, or the shortest of all when none is (then ``within_threshold`` is 0).

SAEBench's quirks that are kept: a range never ends below 100; the histogram counts silent tokens in its first bin; a
silent latent decodes to the middle of the first bin, not to 0, so the error is large for wide SAEs; k does not enter
the description. It reports the whole table and its choice of a row is commented out: the table is in the details.

What differs, by choice:
- All pairs are measured on the same held-out text of the profile, encoded once. SAEBench draws new text for each step.
- Special tokens are left out, and with `skip_outliers` position 0 and massive activations, as in training.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lab.errors import LabError
from lab.evals.base import Context, Scores
from lab.evals.metric import Metric
from lab.progress import track

if TYPE_CHECKING:
    from lab.artifact import Artifact

_PAPER = "arXiv:2410.11179"
_FILE = "setup.safetensors"
_ROWS = 2048  # tokens encoded at a time
_LEAST_MAX = 100.0

METRICS: dict[str, Metric] = {
    "description_length": Metric("lower", "bits", _PAPER, headline=True, names=("minimum description length", "MDL")),
    "within_threshold": Metric("higher", "", _PAPER),
    "mse_loss": Metric("lower", "", _PAPER, headline=True, names=("quantisation error", "quantization error")),
}


@dataclass(frozen=True)
class Settings:
    """SAEBench's defaults. `batch_size` texts are described, after `range_batches` times as many gave the ranges."""

    num_bins: tuple[int, ...] = (4, 6, 8, 12, 16, 32)
    k: tuple[int, ...] = (16, 24, 32)
    mse_epsilon_threshold: float = 0.01
    batch_size: int = 64
    range_batches: int = 10
    skip_outliers: bool = False


@dataclass(frozen=True)
class Setup:
    """The set-up: residuals [n, d_model] that give the ranges, and others that are described."""

    ranges: Tensor
    described: Tensor

    @property
    def d_model(self) -> int:
        """Width of the residuals."""
        return self.described.shape[-1]


def data(ctx: Context, settings: Settings) -> str:
    """The held-out text."""
    return ctx.corpus.fingerprint


def prepare(ctx: Context, settings: Settings) -> Setup:
    """Residuals of the held-out text, from the cache when they are there.

    Raises:
        LabError: there is too little text, or a setting makes no sense.
    """
    if min(*settings.num_bins, *settings.k, settings.batch_size, settings.range_batches) < 1:
        raise LabError("evals.mdl: num_bins, k, batch_size and range_batches must be at least 1")

    def build(folder: Path) -> None:
        subject = ctx.subject
        tokens = ctx.held_out(settings.batch_size * (settings.range_batches + 1))
        parts = []
        for batch in track(tokens.split(settings.batch_size), "set-up of mdl"):
            resid = subject.residuals(batch).cpu()
            kept = ~torch.isin(batch, subject.special_ids.cpu())
            if settings.skip_outliers:
                limits = ctx.profile.activations
                kept = subject.usable(resid, batch, outlier_factor=limits.outlier_factor, drop_first=limits.drop_first)
            parts.append(resid[kept])
        save_file({"ranges": torch.cat(parts[:-1]), "described": parts[-1]}, folder / _FILE)

    fields = ("batch_size", "range_batches", "skip_outliers")
    return Setup(**load_file(ctx.cached("mdl", sys.modules[__name__], settings, fields, build) / _FILE))


@torch.no_grad()
def score(ctx: Context, setup: Setup, sae: Artifact, settings: Settings) -> Scores:
    """The description length of one SAE, and in the details of every pair of settings.

    Args:
        ctx: the call's context.
        setup: from `prepare`.
        sae: takes and gives raw residuals.
        settings: those that `setup` was made with.
    """
    largest = torch.full((sae.d_sae,), _LEAST_MAX, device=sae.device)
    for rows in setup.ranges.split(_ROWS):
        largest = largest.maximum(sae.encode(rows).amax(0))
    table: list[dict[str, Any]] = []
    for bins in track(settings.num_bins, "scoring: mdl"):
        length = description_length(sae, setup.described, largest, bins)
        for k in settings.k:
            error = quantised_error(sae, setup.described, largest, bins, k)
            table.append({"num_bins": bins, "k": k, "description_length": length, "mse_loss": error})
    fit = [row for row in table if row["mse_loss"] < settings.mse_epsilon_threshold]
    best = min(fit or table, key=lambda row: row["description_length"])
    metrics = {
        "description_length": best["description_length"],
        "within_threshold": float(bool(fit)),
        "mse_loss": best["mse_loss"],
    }
    return Scores(metrics, {"settings": dataclasses.asdict(settings), "table": table, "undefined": {}})


def description_length(sae: Artifact, x: Tensor, largest: Tensor, bins: int) -> float:
    """Bits a token of residuals [n, d_model] when latents are cut into bins up to `largest` [d_sae]."""
    counts = torch.zeros(sae.d_sae, bins, dtype=torch.int64, device=sae.device)
    fired = torch.zeros(sae.d_sae, dtype=torch.int64, device=sae.device)
    for rows in x.split(_ROWS):
        acts = sae.encode(rows)
        active = acts > 0
        fired += active.sum(0)
        row, latent = active.nonzero(as_tuple=True)
        share = acts[row, latent] / largest[latent]
        inside = share <= 1  # what exceeds the range is in no bin
        place = (share * bins).long().clamp(max=bins - 1)
        counts += torch.bincount((latent * bins + place)[inside], minlength=counts.numel()).view_as(counts)
    counts[:, 0] += len(x) - fired
    p = fired.double() / len(x)
    fires = _entropy(torch.stack([p, 1 - p], 1))
    levels = _entropy(counts.double() / counts.sum(1, keepdim=True).clamp(min=1))
    return float((fires + p * levels).sum())


def _entropy(p: Tensor) -> Tensor:
    """Bits of distributions [n, outcomes]."""
    bits: Tensor = -torch.special.xlogy(p, p).sum(1) / torch.log(torch.tensor(2.0, dtype=p.dtype))
    return bits


def quantised_error(sae: Artifact, x: Tensor, largest: Tensor, bins: int, k: int) -> float:
    """Root of the mean squared error over d_in when the k largest latents are decoded from the middle of their bins."""
    squared = 0.0
    width = largest / bins
    for rows in x.split(_ROWS):
        acts = sae.encode(rows)
        values, columns = acts.topk(min(k, acts.shape[1]), dim=1)
        kept = torch.zeros_like(acts).scatter_(1, columns, values.relu())
        bin_of = ((kept / width).ceil() - 1).clamp(min=0, max=bins - 1)
        output = sae.decode((bin_of + 0.5) * width)
        squared += (output - rows.to(sae.device).float()).square().sum(dtype=torch.float64).item()
    return float((squared / x.numel()) ** 0.5 / sae.d_in)
