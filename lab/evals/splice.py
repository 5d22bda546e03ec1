"""Losses of the model with other values in its residual stream; only the layers after the hook are run.

With a linear unembedding W the divergence from the clean model needs no clean logits. For next-token distributions p
(clean) and q, with h the vectors that W multiplies and lse the log of the sum of exponentials of the logits,

    KL(p‖q) = (lse_q - h_q · m) - (lse_p - h_p · m),   m = Σ_v p_v W_v,

so m and the second bracket are kept, d_model + 1 numbers a position instead of one for each word. Models whose logits
are not linear in h (Gemma 2 caps them) run the clean residuals again instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lab.progress import track

if TYPE_CHECKING:
    from lab.subject import Subject

_LOGIT_BYTES = {"cpu": 2**27, "cuda": 2**31}  # logits are the largest tensor here: so many bytes of them at a time
_LINEAR = 2e-2  # bfloat16 rounds by less, capping logits changes the largest by more


def reference(subject: Subject, tokens: Tensor, resid: Tensor, ablated: Tensor) -> dict[str, Tensor]:
    """Losses that no SAE enters.

    Args:
        subject: the model.
        tokens: [n, ctx] int64.
        resid: [n, ctx, d_model] clean residuals at the hook.
        ablated: positions [n, ctx] that the ablation sets to zero.

    Returns:
        On the CPU: `clean_ce`, `ablated_ce` (nats at predicting the next token; 0 at the last position) and
        `ablated_kl` [n, ctx]; with a linear unembedding also `mean_unembedding` (m) [n, ctx, d_model] and `clean_gap`
        [n, ctx].
    """
    parts: dict[str, list[Tensor]] = {}
    linear = _is_linear(subject, resid[:1])
    starts = range(0, len(tokens), _texts_at_once(subject, tokens))
    for i in track(starts, "set-up of core: clean and ablated losses", len(starts)):
        rows = slice(i, i + starts.step)
        with _unembedded(subject) as caught:
            logits = subject.logits_from(resid[rows]).float()
        total = logits.logsumexp(-1)
        clean = logits - total[..., None]
        zeroed = torch.where(ablated[rows, :, None], 0.0, resid[rows].float())
        other = torch.log_softmax(subject.logits_from(zeroed).float(), -1)
        row = {
            "clean_ce": _next_token_loss(logits, total, tokens[rows]),
            "ablated_ce": _next_token_loss(other, torch.zeros_like(total), tokens[rows]),
            "ablated_kl": (clean.exp() * (clean - other)).sum(-1),
        }
        if linear:
            mean = clean.exp() @ subject.model.get_output_embeddings().weight.float()
            row |= {"mean_unembedding": mean, "clean_gap": _gap(total, caught[0], mean)}
        for name, value in row.items():
            parts.setdefault(name, []).append(value.cpu())
    return {name: torch.cat(values) for name, values in parts.items()}


def losses(
    subject: Subject,
    tokens: Tensor,
    clean: Tensor,
    resid: Tensor,
    lengths: Tensor,
    mean_unembedding: Tensor | None,
    clean_gap: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Losses with `resid` in the place of the residual stream.

    Args:
        subject: the model.
        tokens: [n, ctx] int64.
        clean: [n, ctx, d_model] residuals at the hook, untouched.
        resid: [n, ctx, d_model] what goes there instead.
        lengths: [n] int64, how many positions of each text are wanted; texts of about equal length are run together.
        mean_unembedding: from `reference`, for these texts; None where it gave none.
        clean_gap: likewise.

    Returns:
        Cross-entropy of the next token and KL divergence from the clean model, nats, [n, ctx] on the CPU; 0 at
        positions that were not wanted.
    """
    ce, kl = torch.zeros(tokens.shape), torch.zeros(tokens.shape, dtype=torch.float64)
    for rows in lengths.argsort(stable=True).split(_texts_at_once(subject, tokens)):
        width = int(lengths[rows].max())
        if not width:
            continue
        with _unembedded(subject) as caught:
            logits = subject.logits_from(resid[rows, :width]).float()
        total = logits.logsumexp(-1)
        ce[rows, :width] = _next_token_loss(logits, total, tokens[rows]).cpu()
        if mean_unembedding is None or clean_gap is None:
            expected = torch.log_softmax(subject.logits_from(clean[rows, :width]).float(), -1)
            divergence = (expected.exp() * (expected - torch.log_softmax(logits, -1))).sum(-1).cpu().double()
        else:
            gap = _gap(total, caught[0], mean_unembedding[rows, :width])
            divergence = gap.cpu() - clean_gap[rows, :width]
        kl[rows, :width] = divergence
    return ce, kl


def _texts_at_once(subject: Subject, tokens: Tensor) -> int:
    return max(1, _LOGIT_BYTES.get(subject.device.type, 2**27) // (4 * tokens.shape[1] * subject.vocab))


@contextmanager
def _unembedded(subject: Subject) -> Iterator[list[Tensor]]:
    """Collect the vectors that the output matrix multiplies while logits are computed."""
    caught: list[Tensor] = []
    head = subject.model.get_output_embeddings()
    handle = head.register_forward_pre_hook(lambda _module, inputs: caught.append(inputs[0]))
    try:
        yield caught
    finally:
        handle.remove()


def _is_linear(subject: Subject, resid: Tensor) -> bool:
    """Tell whether logits are the output matrix times a vector and nothing more."""
    with _unembedded(subject) as caught:
        logits = subject.logits_from(resid).float()
    plain = caught[0].float() @ subject.model.get_output_embeddings().weight.float().T
    return bool((logits - plain).abs().max() <= _LINEAR * plain.abs().max())


def _gap(total: Tensor, hidden: Tensor, mean: Tensor) -> Tensor:
    """lse - h · m, [batch, ctx] float64: two numbers of some tens whose difference is small. `total` is the lse."""
    dot = (hidden.double() * mean.to(hidden.device).double()).sum(-1)
    return total.double() - dot


def _next_token_loss(logits: Tensor, total: Tensor, tokens: Tensor) -> Tensor:
    """Nats at predicting each next token, [batch, width] for logits [batch, width, vocab] and tokens [batch, ctx].

    `total` is their logsumexp [batch, width].

    The last position of a text, which has no next token, gets 0.
    """
    width = logits.shape[1]
    targets = torch.nn.functional.pad(tokens[:, 1:], (0, 1))[:, :width].to(logits.device)
    loss = total - logits.gather(-1, targets[..., None]).squeeze(-1)
    if width == tokens.shape[1]:
        loss[:, -1] = 0
    return loss
