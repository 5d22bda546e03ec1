"""Meta-structure: how much of an SAE's decoder can a few shared directions explain?

A small SAE, a meta-SAE (Leask et al. 2025, arXiv:2502.04878), is trained on the decoder's rows as SAEBench 0.6.0 does:
BatchTopK with `k` active latents a row on average, `width_ratio` times as many latents as the SAE has, Adam on rows
drawn at random. ``decoder_fraction_variance_explained`` is 1 - the squared error over the squared distance from the
mean row. A latent that is a mixture of others (a red triangle from red and triangle) is explained, an atomic one is
not: lower means that latents share less. No language model is run.

SAEBench's quirks that are kept: in scoring too the k·n largest activations of a batch of `eval_batch_size` rows are
kept, so the value depends a little on that size; dead meta-latents are never revived, because SAEBench's window for
that, 2,000 steps, is longer than the training.

What differs, by choice:
- The seed is fixed and the generator is our own. SAEBench trains under bfloat16 autocast, we in float32.
- Only active entries are multiplied: a step costs one product of the batch with the encoder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lab.errors import LabError
from lab.evals.base import Context, Scores
from lab.evals.metric import Metric
from lab.progress import track

if TYPE_CHECKING:
    from lab.artifact import Artifact

_PAPER = "arXiv:2503.09532"
_INIT_NORM = 0.1  # of the meta-decoder's rows: sae-lens' heuristic
_CLIP_NORM = 1.0

_NAMES = (
    *("meta-structure", "meta-SAE score", "meta-SAE explained variance", "meta-SAE's explained variance"),
    *("variance explained by the meta-SAE", "explain … of the decoder", "decoder variance explained"),
    *("decoder fraction of variance explained", "fraction of the decoder's variance explained"),
)

METRICS: dict[str, Metric] = {
    "decoder_fraction_variance_explained": Metric("lower", "", _PAPER, headline=True, names=_NAMES),
    "final_reconstruction_mse": Metric(None, "", _PAPER),
}


@dataclass(frozen=True)
class Settings:
    """SAEBench's defaults. `train_batch_size` and `eval_batch_size` count decoder rows."""

    width_ratio: float = 0.25
    k: int = 4
    train_steps: int = 1500
    train_batch_size: int = 1024
    learning_rate: float = 5e-4
    eval_batch_size: int = 4096
    seed: int = 42


@dataclass(frozen=True)
class Setup:
    """Nothing is shared by SAEs here, and an SAE of any width can be scored."""

    d_model: int | None = None


def data(ctx: Context, settings: Settings) -> str:
    """No data but the SAE's own weights."""
    return "decoder"


def prepare(ctx: Context, settings: Settings) -> Setup:
    """Check the settings.

    Raises:
        LabError: a setting makes no sense.
    """
    if min(settings.k, settings.train_steps, settings.train_batch_size, settings.eval_batch_size) < 1:
        raise LabError("evals.meta_structure: k, train_steps and the batch sizes must be at least 1")
    if not 0 < settings.width_ratio <= 1:
        raise LabError(f"evals.meta_structure.width_ratio must be above 0 and at most 1, not {settings.width_ratio}")
    return Setup()


def score(ctx: Context, setup: Setup, sae: Artifact, settings: Settings) -> Scores:
    """Train a meta-SAE on the decoder and measure what it explains.

    Args:
        ctx: the call's context.
        setup: from `prepare`.
        sae: its decoder rows have norm 1.
        settings: of the meta-SAE.
    """
    rows = sae.W_dec.float()
    meta = train(rows, settings)
    residual, total = 0.0, 0.0
    with torch.no_grad():
        for batch in rows.split(settings.eval_batch_size):
            residual += (batch - meta(batch)).square().sum(dtype=torch.float64).item()
            total += (batch - rows.mean(0)).square().sum(dtype=torch.float64).item()
    metrics = {"final_reconstruction_mse": residual / rows.numel()}
    if total > 0:
        metrics["decoder_fraction_variance_explained"] = 1 - residual / total
    undefined = {name: "all decoder rows are equal" for name in METRICS if name not in metrics}
    return Scores(metrics, {"meta_latents": len(meta.W_dec), "undefined": undefined})


class MetaSae(nn.Module):
    """A BatchTopK SAE over rows [n, d] with `width` latents, drawn by a generator.

    Which entries are kept is decided by the activation times the decoder row's norm, so that a latent cannot win by a
    short row; the output does not depend on that norm otherwise.
    """

    def __init__(self, d: int, width: int, k: int, generator: torch.Generator) -> None:
        super().__init__()
        self.k = k
        start = nn.functional.normalize(torch.randn(width, d, generator=generator), dim=1) * _INIT_NORM
        self.W_dec = nn.Parameter(start)
        self.W_enc = nn.Parameter(start.clone())  # [width, d]: a latent's weights are one row, as in the decoder
        self.b_enc = nn.Parameter(torch.zeros(width))
        self.b_dec = nn.Parameter(torch.zeros(d))

    def forward(self, x: Tensor) -> Tensor:
        """Reconstructions of rows [n, d]."""
        row, latent = self.active(x)
        value = torch.linalg.vecdot((x - self.b_dec)[row], self.W_enc[latent]) + self.b_enc[latent]
        parts = value.relu()[:, None] * self.W_dec[latent]
        return self.b_dec.expand_as(x).index_add(0, row, parts)

    @torch.no_grad()
    def active(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Row and latent of the k·n entries of a batch [n, d] that are kept."""
        strength = torch.addmm(self.b_enc, x - self.b_dec, self.W_enc.T).relu_() * self.W_dec.norm(dim=1)
        width = strength.shape[1]
        kept = strength.flatten().topk(min(self.k * len(x), strength.numel()), sorted=False).indices
        return kept // width, kept % width


def train(rows: Tensor, settings: Settings) -> MetaSae:
    """Fit a meta-SAE to decoder rows [d_sae, d]."""
    generator = torch.Generator().manual_seed(settings.seed)
    width = max(math.ceil(len(rows) * settings.width_ratio), settings.k)
    meta = MetaSae(rows.shape[1], width, settings.k, generator).to(rows.device)
    optimiser = torch.optim.Adam(meta.parameters(), lr=settings.learning_rate)
    for _ in track(range(settings.train_steps), "scoring: meta_structure"):
        drawn = torch.randint(len(rows), (settings.train_batch_size,), generator=generator)
        batch = rows[drawn.to(rows.device)]
        with torch.enable_grad():
            loss = (meta(batch) - batch).square().sum(1).mean()
            optimiser.zero_grad()
            loss.backward()
        nn.utils.clip_grad_norm_(meta.parameters(), _CLIP_NORM)
        optimiser.step()
    return meta
