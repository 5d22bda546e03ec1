"""Running sums of what a reconstruction keeps of the residual stream, and how sparse its latents are."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

DENSITY_EDGES = [x / 4 for x in range(-20, 1)]
"""log10 of the share of tokens a latent fires on, in quarters of a decade."""

_ALWAYS = 0.9  # of the tokens


def ratio(above: float, below: float) -> float:
    """A quotient; NaN where it has no denominator."""
    return above / below if below else float("nan")


def finite(value: float) -> bool:
    """Neither NaN nor infinite."""
    return value - value == 0


class Sums:
    """Running sums over batches of x [n, d], latents [n, d_sae] and reconstructions [n, d], in float64."""

    def __init__(self, d_sae: int) -> None:
        self.tokens = 0
        self.d = 0
        self.total: dict[str, float] = {}
        self.batch: dict[str, list[float]] = {}
        self.x_sum = torch.zeros(())
        self.fired = torch.zeros(d_sae, dtype=torch.float64)
        self.active = torch.zeros(d_sae, dtype=torch.float64)

    def add(self, x: Tensor, acts: Tensor, x_hat: Tensor) -> None:
        """Take one batch in."""
        n, self.d = x.shape
        if not n:
            return
        error = (x - x_hat).square().sum(1).double()
        squared_in, squared_out = x.square().sum(1).double(), x_hat.square().sum(1).double()
        norm_in, norm_out, dot = squared_in.sqrt(), squared_out.sqrt(), (x * x_hat).sum(1).double()
        self._add("error", error)
        self._add("squared_in", squared_in)
        self._add("norm_in", norm_in)
        self._add("norm_out", norm_out)
        self._add("ratio", norm_out / torch.where(norm_in < 1e-4, 1.0, norm_in))
        self._add("cossim", dot / (norm_in * norm_out).clamp(min=1e-30))
        active = acts != 0
        self._add("l0", active.sum(1).double())
        self._add("negative", (acts < 0).sum(1).double())
        self._add("l1", acts.sum(1, dtype=torch.float64))
        self._add("legacy", 1 - error / (x - x.mean(0)).square().sum(1).double())
        self._add("mse", error / n)
        # SAEBench averages these two over batches; batches differ a little in how many positions count.
        for name, value in {
            "error": error.mean(),
            "squared_in": squared_in.mean(),
            "bias": squared_out.mean() / dot.mean(),  # equation 10 of arXiv:2404.16014
        }.items():
            self.batch.setdefault(name, []).append(value.item())
        self.fired += (acts > 0).sum(0).double().cpu()
        self.active += active.sum(0).double().cpu()
        self.x_sum = self.x_sum + x.sum(0, dtype=torch.float64).cpu()
        self.tokens += n

    def _add(self, name: str, values: Tensor) -> None:
        self.total[name] = self.total.get(name, 0.0) + values.sum().item()

    def metrics(self) -> dict[str, float]:
        """The metrics; one without a denominator is NaN or infinite."""
        mean = {name: value / self.tokens for name, value in self.total.items()}
        batch = {name: sum(values) / len(values) for name, values in self.batch.items()}
        density = self.fired / self.tokens
        saebench = batch["squared_in"] - (batch["squared_in"] / self.d) ** 2
        centred = mean["squared_in"] - (self.x_sum / self.tokens).square().sum().item()
        found = {
            "explained_variance": 1 - ratio(mean["error"], centred),
            "fraction_variance_unexplained": ratio(mean["error"], centred),
            # Where E‖x‖² exceeds d² its denominator is negative, and the worse of two reconstructions scores higher.
            "explained_variance_saebench": 1 - ratio(batch["error"], saebench) if saebench > 0 else math.nan,
            "explained_variance_legacy": mean["legacy"],
            "mse": mean["error"],
            "mse_saebench": mean["mse"],
            "cossim": mean["cossim"],
            "l2_norm_in": mean["norm_in"],
            "l2_norm_out": mean["norm_out"],
            "l2_ratio": mean["ratio"],
            "relative_reconstruction_bias": batch["bias"],
            "l0": mean["l0"],
            "negative_share": mean["negative"] / (mean["l0"] or 1.0),
            "always_on": float((self.active > _ALWAYS * self.tokens).sum()),
            "l1": mean["l1"],
            "frac_alive": (density > 0).double().mean().item(),
        }
        for name, limit in (("1", 0.01), ("10", 0.1)):
            often = density > limit
            found[f"freq_over_{name}_percent"] = often.double().mean().item()
            found[f"normalized_freq_over_{name}_percent"] = (
                (density[often].sum() / density.sum()).item() if density.sum() > 0 else 0.0
            )
        return found

    def histogram(self) -> dict[str, Any]:
        """A histogram of firing rates: counts of latents between edges of log10(density), and the dead."""
        density = (self.fired / self.tokens).float()
        alive = density[density > 0].log10().clamp(min=DENSITY_EDGES[0])
        counts = torch.histogram(alive, torch.tensor(DENSITY_EDGES)).hist
        return {
            "log10_edges": DENSITY_EDGES,
            "counts": [int(count) for count in counts],
            "never": int((density == 0).sum()),
        }
