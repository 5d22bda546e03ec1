"""Losses from given residuals, on small random models: one with linear logits, one that caps them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from lab.evals import splice

N, CTX, D, VOCAB = 5, 7, 16, 50


class Toy(nn.Module):
    """The end of a model: a matrix, then the output matrix, then perhaps a cap."""

    def __init__(self, cap: float | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head, self.cap = nn.Linear(D, D), nn.Linear(D, VOCAB, bias=False), cap
        self.head.weight.data *= 8

    def get_output_embeddings(self) -> nn.Module:
        return self.head


def toy_subject(cap: float | None) -> SimpleNamespace:
    model = Toy(cap).requires_grad_(False)

    def logits_from(resid: Tensor) -> Tensor:
        logits = model.head(model.body(resid))
        return logits if cap is None else cap * torch.tanh(logits / cap)

    return SimpleNamespace(model=model, vocab=VOCAB, device=torch.device("cpu"), logits_from=logits_from)


@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("lengths", [[CTX] * N, [0, 3, 7, 1, 5]])
def test_losses_equal_their_definitions(cap: float | None, lengths: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splice, "_LOGIT_BYTES", {"cpu": 2 * 4 * CTX * VOCAB})  # two texts at a time
    subject = toy_subject(cap)
    tokens = torch.randint(0, VOCAB, (N, CTX))
    clean, other = torch.randn(N, CTX, D), torch.randn(N, CTX, D)
    ablated = torch.rand(N, CTX) < 0.5
    found = splice.reference(subject, tokens, clean, ablated)  # type: ignore[arg-type]
    linear = {name: found.get(name) for name in ("mean_unembedding", "clean_gap")}
    assert (linear["clean_gap"] is None) == (cap is not None)
    ce, kl = splice.losses(subject, tokens, clean, other, torch.tensor(lengths), **linear)  # type: ignore[arg-type]

    def log_p(resid: Tensor) -> Tensor:
        return subject.logits_from(resid).log_softmax(-1)

    def next_token(resid: Tensor) -> Tensor:
        return -log_p(resid)[:, :-1].gather(-1, tokens[:, 1:, None]).squeeze(-1)

    def divergence(resid: Tensor) -> Tensor:
        return (log_p(clean).exp() * (log_p(clean) - log_p(resid))).sum(-1)

    zeroed = torch.where(ablated[..., None], 0.0, clean)
    wanted = torch.arange(CTX) < torch.tensor(lengths)[:, None]
    close = {"atol": 1e-5, "rtol": 1e-4}
    torch.testing.assert_close(ce[:, :-1][wanted[:, :-1]], next_token(other)[wanted[:, :-1]], **close)
    torch.testing.assert_close(kl[wanted].float(), divergence(other)[wanted], **close)
    torch.testing.assert_close(found["clean_ce"][:, :-1], next_token(clean), **close)
    torch.testing.assert_close(found["ablated_ce"][:, :-1], next_token(zeroed), **close)
    torch.testing.assert_close(found["ablated_kl"], divergence(zeroed), **close)
    assert not ce[:, -1].any()
    assert not found["clean_ce"][:, -1].any()


def test_a_clean_residual_diverges_by_nothing() -> None:
    subject = toy_subject(None)
    tokens, clean = torch.randint(0, VOCAB, (N, CTX)), torch.randn(N, CTX, D)
    found = splice.reference(subject, tokens, clean, torch.ones(N, CTX, dtype=torch.bool))  # type: ignore[arg-type]
    full = torch.full((N,), CTX)
    _, kl = splice.losses(
        subject,  # type: ignore[arg-type]
        tokens,
        clean,
        clean,
        full,
        found["mean_unembedding"],
        found["clean_gap"],
    )
    assert kl.abs().max() < 1e-5
