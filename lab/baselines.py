"""The lab's own baselines: each architecture at any L0, trained on a run's data, order, seed and budget.

    python -m lab.baselines --architecture jumprelu --l0 32 [--seed 0] [--profile NAME] [--out_dir DIR]

trains one and prints its folder. Without `--out_dir` it is trained once and kept in the cache, under a key of all that
it depends on. `lab.recipes` and each of `lab.architectures` tell how it is trained.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from lab import architectures, cache
from lab.errors import LabError
from lab.settings import DEFAULT_PROFILE, Profile, load_profile

if TYPE_CHECKING:
    from lab.architectures.base import SAE
    from lab.training import Run

KIND = "grid"  # in the cache


@dataclass(frozen=True)
class Config:
    """Settings of one baseline; None takes the profile's value. L0 is the mean number of active latents a token."""

    architecture: str
    l0: float
    d_sae: int | None = None
    lr: float | None = None
    warmup_fraction: float | None = None
    decay_fraction: float | None = None
    clip_norm: float = 1.0
    dead_fraction: float = 0.1  # a latent is dead when it was idle for this share of the run's tokens
    log_every: int = 10


def baseline(profile: Profile, architecture: str, l0: float, seed: int, device: str | None = None) -> Path:
    """The folder of a baseline at an L0, trained the first time it is asked for.

    It holds `sae/` and `training.json`, as a run's does. `lab.evaluate` may score it there; else treat it as read-only.

    Args:
        profile: the model, the data and the budget.
        architecture: one of `lab.architectures.TABLE`.
        l0: wanted mean number of active latents a token. From 20 on the next whole number is taken, below it two
            digits, so that nearly equal wishes share one baseline; topk takes a whole number always.
        seed: of the order of the data and of the start.
        device: "cpu", "cuda" …; None takes CUDA where there is one.

    Raises:
        LabError: the architecture is unknown, the L0 cannot be had, or the disk is full.
    """
    from lab.activations import open_store
    from lab.devices import choose_device
    from lab.sources import source_hash

    cfg = Config(architecture, reachable(architecture, l0, profile))
    where = choose_device(device)
    key = {
        "architecture": architecture,
        "l0": cfg.l0,
        "seed": seed,
        "training": profile.training,
        "settings": profile.baselines.settings.get(architecture, {}),
        "data": open_store(profile, device=str(where)).fingerprint,
        "code": source_hash("lab.baselines", architectures.TABLE[architecture]),
        "device": where.type,
    }
    return cache.entry(KIND, key, lambda folder: _train_into(folder, profile, cfg, seed, device))


def reachable(architecture: str, l0: float, profile: Profile) -> float:
    """The L0 at which a baseline is trained for one that is wanted.

    Raises:
        LabError: the architecture is unknown, or the L0 cannot be had.
    """
    whole = architectures.load(architecture).recipe.whole_l0
    d_sae = profile.training.d_sae
    if not 0 < l0 < d_sae:
        raise LabError(f"an L0 of {l0:g} cannot be had: give one above 0 and below the {d_sae} latents")
    return float(max(1, round(l0)) if whole or l0 >= 20 else f"{l0:.2g}")


def _train_into(folder: Path, profile: Profile, cfg: Config, seed: int, device: str | None) -> None:
    from lab.training import begin

    names = {field.name for field in fields(Config)}
    own = profile.baselines.settings.get(cfg.architecture, {})
    run = begin(folder, profile, seed, device, overrides={name: own[name] for name in sorted(names & own.keys())})
    cfg = run.configure(cfg)
    run.save(train(run, cfg), cfg.architecture)


def train(run: Run, cfg: Config) -> SAE:
    """The one loop of all architectures; nothing in it waits for a GPU.

    Args:
        run: gives the data.
        cfg: complete, as `run.configure` gives it.

    Returns:
        The trained SAE, on the run's device.
    """
    import torch

    from lab.numerics import Delayed, geometric_median, remove_parallel_gradient, set_decoder_norm, warmup_decay
    from lab.recipes import Step, fresh

    assert cfg.d_sae is not None
    assert cfg.lr is not None
    assert cfg.warmup_fraction is not None
    assert cfg.decay_fraction is not None
    architecture = architectures.load(cfg.architecture)
    start = fresh(run.d_model, cfg.d_sae, architecture.sae.needs)
    sae = architecture.sae(start, round(cfg.l0)).to(run.device)
    recipe = architecture.recipe(sae, cfg.l0, run.steps)
    first = run.first_acts()
    sae.b_dec.data.copy_(geometric_median(first))
    factors = {tensor: recipe.lr_factors.get(name, 1.0) for name, tensor in sae.named_parameters()}
    groups = [{"params": [tensor for tensor in factors if factors[tensor] == each]} for each in set(factors.values())]
    optimizer = torch.optim.Adam(groups, lr=cfg.lr, betas=(0.9, 0.999), fused=True)
    idle = torch.zeros(cfg.d_sae, device=run.device)
    dead_after = cfg.dead_fraction * run.steps * run.batch_size
    any_dead = Delayed(False)
    for batch in run.batches():
        progress = batch.step / run.steps
        lr = cfg.lr * warmup_decay(progress, cfg.warmup_fraction, cfg.decay_fraction)
        for group in optimizer.param_groups:
            group["lr"] = lr * factors[group["params"][0]]
        with run.autocast():
            latents = recipe.activate(batch.acts)
            error = batch.acts - recipe.reconstruct(latents)
            terms = recipe.terms(Step(batch.acts, error, latents, progress, idle, dead_after, any_dead.value))
        loss = torch.stack([term.float() for term in terms.values()]).sum()
        optimizer.zero_grad()
        loss.backward()
        remove_parallel_gradient(sae.W_dec)
        torch.nn.utils.clip_grad_norm_(sae.parameters(), cfg.clip_norm)
        optimizer.step()
        set_decoder_norm(sae.W_dec.data)
        idle = torch.where(latents.fired(), 0.0, idle + run.batch_size)
        dead = idle >= dead_after
        any_dead.put(dead.any())
        if batch.step % cfg.log_every == 0 or batch.step == run.steps - 1:
            variance = (batch.acts - batch.acts.mean(0)).square().sum()
            explained = 1 - error.detach().square().sum() / variance
            run.log(
                batch.step, loss=loss, **terms, explained_variance=explained, l0=latents.l0, dead=dead.float().mean()
            )
    recipe.finish(first)
    return sae


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lab.baselines", description="Train one baseline at an L0.")
    parser.add_argument("--architecture", required=True, help=", ".join(architectures.TABLE))
    parser.add_argument("--l0", required=True, type=float, help="wanted mean number of active latents a token")
    parser.add_argument("--seed", type=int, default=0, help="of the data's order and the start (0)")
    parser.add_argument("--profile", default=DEFAULT_PROFILE, help=f"a profile's name or file ({DEFAULT_PROFILE})")
    parser.add_argument("--out_dir", type=Path, help="the folder for sae/ and training.json (default: in the cache)")
    parser.add_argument("--device", help="cpu, cuda … (default: cuda where there is one)")
    options = parser.parse_args(arguments)
    try:
        profile = load_profile(options.profile)
        if options.out_dir is None:
            folder = baseline(profile, options.architecture, options.l0, options.seed, options.device)
        else:
            folder = options.out_dir
            cfg = Config(options.architecture, reachable(options.architecture, options.l0, profile))
            _train_into(folder, profile, cfg, options.seed, options.device)
    except LabError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"{folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
