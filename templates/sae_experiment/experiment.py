"""Train one sparse autoencoder (SAE) on a language model's residual stream, and save it. This is the file to edit.

The lab (`lab.training`) fixes the data, their order, the seed and the token budget; `python -m lab.evaluate` scores the
saved weights. Activations come scaled to a mean square of 1 per coordinate.

Sources: Gao et al. 2024, "Scaling and evaluating sparse autoencoders", arXiv:2406.04093 (TopK, auxiliary-k loss);
Bricken et al. 2023, "Towards monosemanticity", transformer-circuits.pub (ReLU with an L1 penalty, unit-norm decoder,
gradient without its parallel part); Marks et al. 2024, github.com/saprmarks/dictionary_learning (schedules, clipping).
"""

import argparse
import sys
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab import sparse
from lab.errors import LabError
from lab.numerics import Delayed, geometric_median, remove_parallel_gradient, set_decoder_norm, warmup, warmup_decay
from lab.training import Batch, Run, start


@dataclass(frozen=True)
class Config:
    """Settings of this run; None takes the profile's value."""

    architecture: str = "topk"  # a key of ARCHITECTURES
    d_sae: int | None = None  # latents
    k: int | None = None  # TopK: active latents of each token
    lr: float | None = None
    warmup_fraction: float | None = None  # of the steps, in which the learning rate rises
    decay_fraction: float | None = None  # of the steps, in which it falls to 0
    clip_norm: float = 1.0
    l1_coefficient: float | None = None  # ReLU: weight of the sparsity penalty
    l1_warmup_fraction: float = 0.1
    aux_coefficient: float = 1 / 32  # TopK: weight of the auxiliary-k loss
    aux_latents: int = 0  # at most so many dead latents are trained at a time; 0: half of d_in, as in Gao et al. 2024
    dead_fraction: float = 0.1  # a latent is dead when it was idle for this share of the run's tokens
    log_every: int = 10


@dataclass
class Latents:
    """The latents of a batch, in sparse or in dense form.

    values: [batch, k] with the latents they belong to in columns [batch, k]; or [batch, d_sae] where columns is None.
    pre: [batch, d_sae], before the activation function.
    """

    values: Tensor
    columns: Tensor | None
    pre: Tensor

    def dense(self) -> Tensor:
        """[batch, d_sae]; gradients flow through it."""
        return sparse.dense(self.values, self.columns, self.pre.shape[1])

    def fired(self) -> Tensor:
        """[d_sae] bool: which latents were active anywhere in the batch."""
        active = self.values.detach() > 0
        if self.columns is None:
            return active.any(dim=0)
        return torch.zeros_like(self.pre[0]).index_add_(0, self.columns.flatten(), active.flatten().to(self.pre)) > 0


@dataclass
class Step:
    """The values that a loss may use in one step.

    batch: acts [batch, d_in]; on request also previous [batch, d_in] (one token earlier), has_previous [batch] and
        source [batch] (which set of texts, an index into run.sources).
    error: [batch, d_in], activations minus reconstruction.
    progress: share of the run that is done, in [0, 1).
    idle: [d_sae], tokens since each latent was last active.
    any_dead: whether some latent was dead a few steps ago (a plain bool, so that no GPU is waited for).
    """

    batch: Batch
    latents: Latents
    error: Tensor
    progress: float
    idle: Tensor
    dead_after: float
    any_dead: bool


class SAE(nn.Module):
    """The base of the architectures. The lab reads W_enc, b_enc, W_dec (unit rows), b_dec, encode() and decode()."""

    def __init__(self, d_in: int, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        directions = F.normalize(torch.randn(cfg.d_sae, d_in), dim=1)
        self.W_dec = nn.Parameter(directions)  # [d_sae, d_in]
        # The encoder starts as the decoder's transpose (Gao et al. 2024, appendix A.1); rows of latents are contiguous.
        self.W_enc = nn.Parameter(directions.clone().T)  # [d_in, d_sae]
        self.b_enc = nn.Parameter(torch.zeros(cfg.d_sae))
        self.b_dec = nn.Parameter(torch.zeros(d_in))

    def activate(self, x: Tensor) -> Latents:
        """The latents of activations [batch, d_in]; the architecture."""
        raise NotImplementedError

    def loss(self, step: Step) -> dict[str, Tensor]:
        """The terms of the loss, already weighted; their sum is minimised."""
        raise NotImplementedError

    def pre_activations(self, x: Tensor) -> Tensor:
        return sparse.linear(x - self.b_dec, self.W_enc, self.b_enc)

    def reconstruct(self, latents: Latents) -> Tensor:
        return sparse.combine(latents.values, latents.columns, self.W_dec) + self.b_dec

    def encode(self, x: Tensor) -> Tensor:
        """[n, d_in] to [n, d_sae], as it is scored."""
        return self.activate(x).dense()

    def decode(self, f: Tensor) -> Tensor:
        """[n, d_sae] to [n, d_in], as it is scored."""
        return f @ self.W_dec + self.b_dec


class TopK(SAE):
    """The k largest pre-activations of each token are kept (Gao et al. 2024, section 2.3)."""

    def activate(self, x: Tensor) -> Latents:
        pre = self.pre_activations(x)
        values, columns = pre.topk(self.cfg.k, dim=-1, sorted=False)
        return Latents(values.relu(), columns, pre)

    def loss(self, step: Step) -> dict[str, Tensor]:
        terms = {"reconstruction": step.error.square().mean()}
        if step.any_dead:
            terms["auxiliary"] = self.cfg.aux_coefficient * self.auxiliary_k(step)
        return terms

    def auxiliary_k(self, step: Step) -> Tensor:
        """Dead latents learn to reconstruct what is left (Gao et al. 2024, appendix A.2), relative to its size.

        The latents that were idle longest stand for the top k of the dead ones, so that only few columns are computed.
        """
        count = min(self.cfg.aux_latents or self.W_dec.shape[1] // 2, self.cfg.d_sae)
        idle, chosen = step.idle.topk(count)
        pre = (step.batch.acts - self.b_dec) @ self.W_enc.T[chosen].T + self.b_enc[chosen]
        values = pre.relu() * (idle >= step.dead_after)
        target = step.error.detach()
        return (values @ self.W_dec[chosen] - target).square().mean() / target.square().mean()


class ReLU(SAE):
    """All positive pre-activations are kept; an L1 penalty makes them few (Bricken et al. 2023)."""

    def __init__(self, d_in: int, cfg: Config) -> None:
        if cfg.l1_coefficient is None:
            raise LabError("l1_coefficient has no value: set it in Config, or under [training.settings] of the profile")
        super().__init__(d_in, cfg)

    def activate(self, x: Tensor) -> Latents:
        pre = self.pre_activations(x)
        return Latents(pre.relu(), None, pre)

    def loss(self, step: Step) -> dict[str, Tensor]:
        rising = warmup(step.progress, self.cfg.l1_warmup_fraction)
        # Divided by the root of d_in, so that a coefficient means the same at every width.
        l1 = step.latents.values.sum(dim=-1).mean() / self.W_dec.shape[1] ** 0.5
        return {
            "reconstruction": step.error.square().mean(),
            "sparsity": self.cfg.l1_coefficient * rising * l1,
        }


ARCHITECTURES = {"topk": TopK, "relu": ReLU}


def train(run: Run, cfg: Config) -> SAE:
    """The one training loop; nothing in it waits for a GPU."""
    if cfg.architecture not in ARCHITECTURES:
        raise LabError(f"architecture is {cfg.architecture!r}: use one of {', '.join(ARCHITECTURES)}")
    sae = ARCHITECTURES[cfg.architecture](run.d_model, cfg).to(run.device)
    sae.b_dec.data.copy_(geometric_median(run.first_acts()))
    optimizer = torch.optim.Adam(sae.parameters(), lr=cfg.lr, betas=(0.9, 0.999), fused=True)
    idle = torch.zeros(cfg.d_sae, device=run.device)
    dead_after = cfg.dead_fraction * run.steps * run.batch_size
    any_dead = Delayed(False)
    for batch in run.batches():
        factor = warmup_decay(batch.step / run.steps, cfg.warmup_fraction, cfg.decay_fraction)
        for group in optimizer.param_groups:
            group["lr"] = cfg.lr * factor
        with run.autocast():
            latents = sae.activate(batch.acts)
            error = batch.acts - sae.reconstruct(latents)
            step = Step(batch, latents, error, batch.step / run.steps, idle, dead_after, any_dead.value)
            terms = sae.loss(step)
        loss = torch.stack([term.float() for term in terms.values()]).sum()
        optimizer.zero_grad()
        loss.backward()
        remove_parallel_gradient(sae.W_dec)
        norm = nn.utils.clip_grad_norm_(sae.parameters(), cfg.clip_norm)
        optimizer.step()
        set_decoder_norm(sae.W_dec.data)
        idle = torch.where(latents.fired(), 0.0, idle + run.batch_size)
        dead = idle >= dead_after
        any_dead.put(dead.any())
        if batch.step % cfg.log_every == 0 or batch.step == run.steps - 1:
            run.log(
                batch.step,
                loss=loss,
                **terms,
                explained_variance=1 - error.detach().square().sum() / (batch.acts - batch.acts.mean(0)).square().sum(),
                l0=(latents.values > 0).float().sum(dim=-1).mean(),
                dead=dead.float().mean(),
                gradient_norm=norm,
                lr=cfg.lr * factor,
            )
    return sae


def main() -> None:
    parser = argparse.ArgumentParser(description="Train one SAE and save it.")
    parser.add_argument("--out_dir", required=True, help="the folder for sae/ and training.json")
    run = start(parser.parse_args().out_dir)
    cfg = run.configure(Config())
    sae = train(run, cfg)
    run.save(sae, cfg.architecture)


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        sys.exit(f"error: {error}")
