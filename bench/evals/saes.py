"""Three SAEs to score: one dictionary trained as a TopK SAE, read by three encoders with about the same L0."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from lab import artifact
from lab.activations import open_store
from lab.artifact import Artifact
from lab.evals.base import Context

KINDS = ("topk", "relu", "jumprelu")
_LR = 3e-3


class Sae(nn.Module):
    """SAEBench's encoders: TopK and ReLU subtract b_dec from the input, JumpReLU does not.

    Args:
        kind: of KINDS.
        k: active latents of a TopK SAE.
        weights: W_enc [d_in, d_sae], b_enc [d_sae], W_dec [d_sae, d_in], b_dec [d_in]; JumpReLU: threshold [d_sae].
    """

    def __init__(self, kind: str, k: int, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.kind, self.k = kind, k
        for name, value in weights.items():
            self.register_parameter(name, nn.Parameter(value, requires_grad=False))

    def encode(self, x: Tensor) -> Tensor:
        """[n, d_in] to [n, d_sae]."""
        if self.kind == "jumprelu":
            pre = x @ self.W_enc + self.b_enc
            return torch.where(pre > self.threshold, pre.relu(), 0.0)
        pre = ((x - self.b_dec) @ self.W_enc + self.b_enc).relu()
        if self.kind == "relu":
            return pre
        values, columns = pre.topk(self.k, dim=-1)
        return torch.zeros_like(pre).scatter(-1, columns, values)

    def decode(self, f: Tensor) -> Tensor:
        """[n, d_sae] to [n, d_in]."""
        return f @ self.W_dec + self.b_dec


def activations(ctx: Context, most: int) -> Tensor:
    """At most so many residuals of the training text, [n, d_model] float32."""
    return open_store(ctx.profile, ctx.subject).acts[:most].float()


def make(ctx: Context, d_sae: int, k: int, steps: int, tokens: int) -> tuple[dict[str, Sae], Tensor]:
    """The SAEs of KINDS, trained on so many residuals, and some of those to check them on."""
    acts = activations(ctx, tokens)
    return variants(train(acts, d_sae, k, steps), k, acts[:4096]), acts[:256]


def train(acts: Tensor, d_sae: int, k: int, steps: int, seed: int = 0, batch: int = 512) -> dict[str, Tensor]:
    """The weights of a small TopK SAE (Gao et al. 2024, arXiv:2406.04093) on activations [n, d_in].

    Without a step its directions are random.
    """
    generator = torch.Generator().manual_seed(seed)
    scale = acts.square().mean().rsqrt()
    W_dec = F.normalize(torch.randn(d_sae, acts.shape[1], generator=generator), dim=1).requires_grad_()
    W_enc = W_dec.detach().T.clone().requires_grad_()
    b_enc = torch.zeros(d_sae, requires_grad=True)
    b_dec = (acts.mean(0) * scale).requires_grad_()
    weights = {"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec}
    optimizer = torch.optim.Adam(weights.values(), lr=_LR)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, max(1, steps))
    with torch.enable_grad():
        for _ in range(steps):
            x = acts[torch.randint(len(acts), (batch,), generator=generator)] * scale
            values, columns = ((x - b_dec) @ W_enc + b_enc).topk(k, dim=-1)
            output = torch.zeros(batch, d_sae).scatter(1, columns, values.relu()) @ W_dec + b_dec
            loss = (output - x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                W_dec /= W_dec.norm(dim=1, keepdim=True)
    raw = {name: value.detach().contiguous() for name, value in weights.items()}
    return {**raw, "b_enc": raw["b_enc"] / scale, "b_dec": raw["b_dec"] / scale}


def variants(weights: Mapping[str, Tensor], k: int, acts: Tensor) -> dict[str, Sae]:
    """The SAEs of KINDS on one dictionary.

    ReLU's bias is lowered, and JumpReLU's thresholds are set latent by latent, so that k latents are active on average
    over the activations [n, d_in].
    """
    d_sae = len(weights["W_dec"])
    pre = (acts - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]
    share = 1 - k / d_sae
    lowered = {**weights, "b_enc": weights["b_enc"] - _quantile(pre.flatten(), share).clamp(min=0)}
    jump = {
        **weights,
        "b_enc": weights["b_enc"] - weights["b_dec"] @ weights["W_enc"],
        "threshold": torch.stack([_quantile(column, share) for column in pre.T]).clamp(min=0),
    }
    return {kind: Sae(kind, k, each) for kind, each in zip(KINDS, (weights, lowered, jump))}


def write(sae: Sae, name: str, folder: Path, acts: Tensor, **facts: object) -> Artifact:
    """Save an SAE for both sides: `saes/NAME.safetensors` for SAEBench and a run folder NAME for the lab."""
    (folder / "saes").mkdir(parents=True, exist_ok=True)
    save_file({key: value.data for key, value in sae.named_parameters()}, folder / "saes" / f"{name}.safetensors")
    meta = {"architecture": sae.kind, "k": sae.k, **facts}
    return artifact.save(folder / "runs" / name / "sae", sae, input_scale=1.0, meta=meta, sample_acts=acts)


def _quantile(values: Tensor, share: float) -> Tensor:
    return values.kthvalue(max(1, round(share * len(values)))).values
