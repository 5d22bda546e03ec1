"""SAEs whose scores are known beforehand, saved as a run saves them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lab.artifact import Artifact, save
from lab.evals.base import Context
from lab.settings import Profile
from lab.subject import Subject

SaveSae = Callable[..., Artifact]


class ReluSae(nn.Module):
    """encode = ReLU((x - b_dec) W_enc + b_enc), decode = f W_dec + b_dec."""

    def __init__(self, W_dec: Tensor, *, b_enc: float = 0.0, W_enc: Tensor | None = None) -> None:
        super().__init__()
        self.W_dec = nn.Parameter(W_dec / W_dec.norm(dim=1, keepdim=True))
        self.W_enc = nn.Parameter(self.W_dec.detach().T.clone() if W_enc is None else W_enc)
        self.b_enc = nn.Parameter(torch.full((len(W_dec),), b_enc))
        self.b_dec = nn.Parameter(torch.zeros(W_dec.shape[1]))

    def encode(self, x: Tensor) -> Tensor:
        return torch.relu((x - self.b_dec) @ self.W_enc + self.b_enc)

    def decode(self, f: Tensor) -> Tensor:
        return f @ self.W_dec + self.b_dec


def identity(d: int) -> ReluSae:
    """Gives back what it is given: a latent for each coordinate and sign."""
    eye = torch.eye(d)
    return ReluSae(torch.cat([eye, -eye]))


def silent(d: int) -> ReluSae:
    """No latent ever fires, so it gives zeros."""
    return ReluSae(torch.eye(d)[: d // 2], b_enc=-1e6)


def noisy(d: int, seed: int = 0) -> ReluSae:
    """Random directions: a bad SAE."""
    return ReluSae(torch.randn(d, d, generator=torch.Generator().manual_seed(seed)), b_enc=-4.0)


KINDS = {"identity": identity, "silent": silent, "noisy": noisy}


def save_kind(run_dir: Path, sae: str | nn.Module, d: int = 576, **facts: object) -> Artifact:
    """Save an SAE into a run folder: a kind of KINDS or a module, the width, and optional facts for sae.json."""
    module = KINDS[sae](d) if isinstance(sae, str) else sae
    acts = torch.randn(64, d, generator=torch.Generator().manual_seed(1)) * 5
    meta = {"architecture": "relu", **facts}
    return save(run_dir / "sae", module, input_scale=1.0, meta=meta, sample_acts=acts)


@pytest.fixture
def save_sae() -> SaveSae:
    """`save_kind`."""
    return save_kind


@pytest.fixture(scope="session")
def tiny_context(tiny_profile: Profile, tiny_subject: Subject) -> Context:
    """A call's context with the loaded model in it."""
    ctx = Context(tiny_profile, "cpu")
    ctx.__dict__["subject"] = tiny_subject
    return ctx
