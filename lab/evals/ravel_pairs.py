"""RAVEL's prompts that the model completes right, and the pairs that are made of them before any SAE enters."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lab.evals.ravel_prompts import Prompts, is_open, says
from lab.progress import track

if TYPE_CHECKING:
    from lab.evals.ravel_prompts import Settings
    from lab.subject import Prefix, Subject

_INFERENCE = 8  # times as many prompts fit a batch without gradients


@dataclass(frozen=True)
class Table:
    """Prompts on one class of entities, all completed right, and the pairs that are made of them.

    `first` [n] is the first token of each completion and `resid` [n, ctx, d_model] the residual stream after the hooked
    layer. `pairs` has for each attribute int64 rows [pairs, 3] in the order of training: base, source, and 1 where the
    attribute is to change (cause) or 0 where another has to stay (isolation).
    """

    prompts: Prompts
    first: Tensor
    resid: Tensor
    pairs: Mapping[str, Tensor]


@torch.no_grad()
def completed(
    subject: Subject, prompts: Prompts, resid: Tensor, labels: Sequence[str], prefix: Prefix | None, *, count: int
) -> tuple[Tensor, Tensor]:
    """Tell whether the model's greedy completion of each prompt says a label.

    Args:
        subject: the model.
        prompts: n of them.
        resid: the residual stream after the hooked layer [n, ctx, d_model]; at the entity it may have been changed, and
            stays so while tokens are added.
        labels: what to look for, n of them.
        prefix: of the prompts.
        count: tokens generated at most; a prompt whose completion can no longer be right is left early.

    Returns:
        The first token of each completion, int64 [n], and bool [n].
    """
    rows = torch.arange(len(prompts))
    put = resid[rows, prompts.entity]
    tokens = torch.nn.functional.pad(prompts.tokens, (0, count), value=subject.pad_id)
    right = torch.zeros(len(prompts), dtype=torch.bool)
    first = torch.zeros(len(prompts), dtype=torch.int64)
    for step in range(count):
        at = prompts.length[rows] + step
        if step:
            resid = subject.residuals(tokens[rows, : int(at.max())], prefix=prefix)
            resid[torch.arange(len(rows)), prompts.entity[rows]] = put[rows].to(resid)
        found = subject.logits_from(resid[:, : int(at.max())], at=at - 1, prefix=prefix).argmax(-1).cpu()
        first = found if step == 0 else first
        tokens[rows, at] = found
        texts = [str(subject.tokenizer.decode(tokens[row, end - step : end + 1])) for row, end in zip(rows, at)]
        right[rows] = torch.tensor([says(labels[row], text) for row, text in zip(rows.tolist(), texts)])
        rows = torch.tensor([row for row, text in zip(rows.tolist(), texts) if is_open(labels[row], text)])
        if not len(rows):
            break
    return first, right


def known(subject: Subject, prompts: Prompts, settings: Settings, what: str) -> tuple[Prompts, Tensor]:
    """The prompts completed right, of the entities for which most are, and the first token of each completion [n]."""
    prefix = prompts.prefix(subject)
    right: list[int] = []
    first: list[int] = []
    for rows in track(_batches(range(len(prompts)), settings), f"set-up of ravel: {what}, known prompts"):
        part = prompts.take(rows)
        resid = subject.residuals(part.tokens[:, : int(part.length.max())], prefix=prefix)
        tokens, good = completed(subject, part, resid, part.labels, prefix, count=settings.n_generated_tokens)
        right += [row for row, each in zip(rows, good.tolist()) if each]
        first += tokens[good].tolist()
    best = {name for name, _ in Counter(prompts.names[row] for row in right).most_common(settings.top_n_entities)}
    kept = [place for place, row in enumerate(right) if prompts.names[row] in best]
    tokens = torch.tensor([first[place] for place in kept], dtype=torch.int64)
    return prompts.take([right[place] for place in kept]), tokens


def table(subject: Subject, prompts: Prompts, first: Tensor, settings: Settings, what: str) -> Table | None:
    """The pairs of every attribute of which enough is known, and what they need; None when fewer than two are.

    Args:
        subject: the model.
        prompts: from `known`, with `first`.
        first: first tokens [n].
        settings: how many pairs, and how many prompts are enough.
        what: the class of entities, for the progress bar and the draw.
    """
    enough = known_attributes(prompts, settings.min_prompts)
    if len(enough) < 2:
        return None
    pairs = {name: _pairs(prompts, name, enough, settings, what) for name in enough}
    used = sorted({row for drawn in pairs.values() for row in drawn[:, :2].flatten().tolist()})
    place = torch.zeros(len(prompts), dtype=torch.int64)
    place[used] = torch.arange(len(used))
    for drawn in pairs.values():
        drawn[:, :2] = place[drawn[:, :2]]
    kept = prompts.take(used)
    prefix = kept.prefix(subject)
    batches = _batches(range(len(kept)), settings)
    resid = [
        subject.residuals(kept.take(rows).tokens, prefix=prefix).cpu()
        for rows in track(batches, f"set-up of ravel: {what}, residuals")
    ]
    return Table(kept, first[used], torch.cat(resid), pairs)


def known_attributes(prompts: Prompts, least: int) -> list[str]:
    """Attributes with `least` prompts and two values."""
    count = Counter(prompts.attributes)
    values = {name: {label for label, own in zip(prompts.labels, prompts.attributes) if own == name} for name in count}
    return sorted(name for name in count if count[name] >= least and len(values[name]) > 1)


def _pairs(prompts: Prompts, attribute: str, all_of: Iterable[str], settings: Settings, what: str) -> Tensor:
    """Pairs for one attribute [pairs, 3]: as many that it should change as of other attributes that should stay."""
    rng = random.Random(f"{settings.seed} {what} {attribute}")

    def drawn(name: str) -> list[tuple[int, int]]:
        rows = [row for row, own in enumerate(prompts.attributes) if own == name]
        others = {
            label: [row for row in rows if prompts.labels[row] != label] for label in {prompts.labels[r] for r in rows}
        }
        bases = rng.sample(rows, min(settings.n_pairs, len(rows)))
        return [(base, rng.choice(others[prompts.labels[base]])) for base in bases]

    cause = drawn(attribute)
    isolation = [pair for name in all_of if name != attribute for pair in drawn(name)]
    rng.shuffle(isolation)
    found = [(*pair, 1) for pair in cause] + [(*pair, 0) for pair in isolation[: len(cause)]]
    rng.shuffle(found)
    return torch.tensor(found)


def _batches(rows: Sequence[int], settings: Settings) -> list[list[int]]:
    size = settings.batch_size * _INFERENCE
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]
