"""Labelled texts as residuals at the hook, and what an SAE's latents add up to over each of them.

`sparse_probing`, `scr` and `tpp` need no more of an SAE than the sum of its latents over each text: their mean, and the
mean of a residual stream from which latents are taken away,

    (Σ_positions x - S[A] · W_dec[A]) / n,   S = Σ_positions encode(x),

follow from it for any set of latents A. So a text is encoded once, whatever is asked of it. Residuals depend on no SAE:
they lie in the cache, one entry for each set, which all three evaluations share where they ask for the same texts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lab import cache, labelled
from lab.errors import LabError
from lab.evals.base import Context
from lab.progress import track
from lab.sources import source_hash

if TYPE_CHECKING:
    from lab.artifact import Artifact
    from lab.subject import Subject

_RESIDUALS, _REST, _CARD = "residuals.bin", "rest.safetensors", "set.json"
_MODEL_TOKENS = {"cpu": 2**11, "cuda": 2**16}  # through the model at a time
_LATENTS = {"cpu": 2**25, "cuda": 2**29}  # numbers that encoding holds at a time


@dataclass(frozen=True)
class Wanted:
    """The texts that are wanted, and their cutting.

    `train_size`, `test_size`, `seed` and `classes` are those of `lab.labelled.load`; of classes in `halved` only half
    as many texts are used. `context` tokens of a text are kept. With `skip_outliers` position 0 and massive activations
    are left out, as special tokens always are.
    """

    name: str
    train_size: int
    test_size: int
    seed: int
    context: int
    skip_outliers: bool
    classes: tuple[str, ...] = ()
    halved: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """The identity of the texts and their cutting."""
        texts = labelled.fingerprint(
            self.name, train_size=self.train_size, test_size=self.test_size, seed=self.seed, classes=self.classes
        )
        return cache.fingerprint({"texts": texts, "wanted": self})


@dataclass(frozen=True)
class Pooled:
    """One labelled set after the model. N distinct texts have T positions that count.

    `train` and `test` give each class's rows among the texts. `resid` [T, d_model] in the model's dtype, mapped from
    disk; `count` [N] int64 positions of each text, in the same order; `total` [N, d_model] float32 their sum.
    """

    wanted: Wanted
    classes: tuple[str, ...]
    train: tuple[Tensor, ...]
    test: tuple[Tensor, ...]
    resid: Tensor
    count: Tensor
    total: Tensor

    @property
    def d_model(self) -> int:
        """Width of the residuals."""
        return self.total.shape[1]

    @property
    def mean(self) -> Tensor:
        """Mean residual of each text, [N, d_model] float32."""
        return self.total / self.count[:, None]


@dataclass(frozen=True)
class Latents:
    """The latents of the N texts of a set: `total` [N, d_sae], the sum over positions that count, `mean` of them
    likewise, and `padding` [d_sae], the latents of a residual that was set to zero."""

    total: Tensor
    count: Tensor
    padding: Tensor
    context: int

    @property
    def mean(self) -> Tensor:
        """[N, d_sae]."""
        return self.total / self.count[:, None]

    def everywhere(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Sums over all `context` positions, those left out counting as zero residuals: [len(rows), len(columns)]."""
        absent = (self.context - self.count[rows]).to(self.total.dtype)
        return self.total[rows[:, None], columns] + absent[:, None] * self.padding[columns]


def prepare(ctx: Context, wanted: Wanted) -> Pooled:
    """A set's residuals, from the cache when they are there.

    Raises:
        LabError: the set cannot be read, or too few of its texts hold a token that counts.
    """
    if wanted.context < 1:
        raise LabError(f"{wanted.name}: context_length must be at least 1")
    limits = ctx.profile.activations
    key = {
        "subject": ctx.subject_fingerprint,
        "wanted": wanted.fingerprint,
        "outliers": [limits.outlier_factor, limits.drop_first] if wanted.skip_outliers else None,
        "source": source_hash(__name__),
    }
    folder = cache.entry("labelled", key, lambda folder: _build(ctx, wanted, folder))
    rest, card = load_file(folder / _REST), cache.read_json(folder / _CARD)
    dtype = getattr(torch, card["dtype"])
    shape = (int(rest["count"].sum()), rest["total"].shape[1])
    resid = torch.from_file(str(folder / _RESIDUALS), shared=False, size=math.prod(shape), dtype=dtype).view(shape)
    rows = {side: tuple(rest[f"{side}.{i}"] for i in range(len(card["classes"]))) for side in ("train", "test")}
    return Pooled(wanted, tuple(card["classes"]), rows["train"], rows["test"], resid, rest["count"], rest["total"])


def _build(ctx: Context, wanted: Wanted, folder: Path) -> None:
    subject = ctx.subject
    data = labelled.load(
        wanted.name,
        train_size=wanted.train_size,
        test_size=wanted.test_size,
        seed=wanted.seed,
        classes=wanted.classes,
    )
    sizes = {"train": wanted.train_size, "test": wanted.test_size}
    chosen = {
        (side, label): texts[: sizes[side] // (4 if label in wanted.halved else 2)]
        for side, split in (("train", data.train), ("test", data.test))
        for label, texts in split.items()
    }
    texts = list(dict.fromkeys(text for found in chosen.values() for text in found))
    tokens = _tokenised(subject, texts, wanted.context)
    size = sum(map(len, tokens)) * subject.d_model * subject.dtype.itemsize
    cache.check_space(folder, size, f"the residuals of {wanted.name}")
    order = sorted(range(len(texts)), key=lambda index: -len(tokens[index]))
    place = {texts[index]: row for row, index in enumerate(order)}
    counts, totals = [], []
    with (folder / _RESIDUALS).open("wb") as stream:
        for resid, mask in _residuals(ctx, wanted, [tokens[index] for index in order]):
            stream.write(resid[mask].cpu().contiguous().view(torch.uint8).numpy().tobytes())
            counts.append(mask.sum(1).cpu())
            totals.append(torch.where(mask[..., None], resid.float(), 0.0).sum(1).cpu())
    found = {"count": torch.cat(counts), "total": torch.cat(totals)}
    if not found["count"].any():
        raise LabError(f"{wanted.name}: no text has a token that counts")
    for index, label in enumerate(data.classes):
        for side in sizes:
            rows = torch.tensor([place[text] for text in chosen[side, label]])
            found[f"{side}.{index}"] = rows[found["count"][rows] > 0]
    save_file(found, folder / _REST)
    cache.write_json(folder / _CARD, {"classes": data.classes, "dtype": str(subject.dtype).removeprefix("torch.")})


def _tokenised(subject: Subject, texts: Sequence[str], context: int) -> list[list[int]]:
    """The first `context` tokens of each text, with whatever the tokenizer puts before a text."""
    encoded: Any = subject.tokenizer(list(texts), truncation=True, max_length=context)
    return [list(ids) for ids in encoded["input_ids"]]


def _residuals(ctx: Context, wanted: Wanted, tokens: list[list[int]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Residuals [batch, width, d_model] and the positions that count [batch, width], the longest texts first."""
    subject, limits = ctx.subject, ctx.profile.activations
    most = _MODEL_TOKENS.get(subject.device.type, 2**11)
    batches, start = [], 0
    while start < len(tokens):
        size = max(1, most // max(1, len(tokens[start])))
        batches.append(tokens[start : start + size])
        start += size
    median = None
    for batch in track(batches, f"set-up: residuals of {wanted.name}"):
        width = max(1, len(batch[0]))
        ids = torch.full((len(batch), width), subject.pad_id, dtype=torch.int64)
        for row, found in enumerate(batch):
            ids[row, : len(found)] = torch.tensor(found, dtype=torch.int64)
        resid = subject.residuals(ids)
        mask = ~torch.isin(ids.to(resid.device), subject.special_ids)
        if wanted.skip_outliers:
            if median is None:
                norms = resid.float().norm(dim=-1)
                median = float(norms[:, 1:][mask[:, 1:]].median()) if mask[:, 1:].any() else float("inf")
            mask = subject.usable(
                resid, ids, median_norm=median, outlier_factor=limits.outlier_factor, drop_first=limits.drop_first
            )
        yield resid, mask


def latents(ctx: Context, pooled: Pooled, sae: Artifact) -> Latents:
    """Sums of an SAE's latents over the texts of a set; one pass for all evaluations that ask.

    Args:
        ctx: the call's context, which remembers them until the next SAE.
        pooled: from `prepare`.
        sae: takes raw residuals.
    """
    return ctx.remembered(sae, pooled.wanted.fingerprint, lambda: _encode(pooled, sae))


@torch.no_grad()
def _encode(pooled: Pooled, sae: Artifact) -> Latents:
    count = pooled.count.to(sae.device)
    total = torch.zeros(len(count), sae.d_sae, device=sae.device)
    owner = torch.arange(len(count), device=sae.device).repeat_interleave(count)
    step = max(1, _LATENTS.get(sae.device.type, 2**25) // sae.d_sae)
    for start in track(range(0, len(pooled.resid), step), f"scoring: latents of {pooled.wanted.name}"):
        part = slice(start, start + step)
        total.index_add_(0, owner[part], sae.encode(pooled.resid[part]))
    padding = sae.encode(torch.zeros(1, sae.d_in))[0]
    return Latents(total, count, padding, pooled.wanted.context)
