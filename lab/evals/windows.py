"""Windows of text around a latent's activations, to be shown to a reader: the strongest, weighted and random ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Text:
    """Blocks of tokens [n, ctx], padded on the right, with the number of real ones [n]."""

    tokens: Tensor
    length: Tensor

    def centres(self, buffer: int) -> Tensor:
        """Bool [n, ctx]: positions with `buffer` real tokens on either side."""
        place = torch.arange(self.tokens.shape[1])
        return (place >= buffer) & (place < self.length[:, None] - buffer)


@dataclass(frozen=True)
class Window:
    """A stretch of text. `active` says on which tokens the latent fires, `top` how strongly at most."""

    words: tuple[str, ...]
    active: tuple[bool, ...]
    top: float

    @property
    def fires(self) -> bool:
        """Tell whether the latent fires anywhere in it."""
        return any(self.active)

    def shown(self, *, marked: bool) -> str:
        """The text on one line; with `marked` the tokens on which the latent fires stand in << and >>."""
        pieces = (f"<<{word}>>" if marked and on else word for word, on in zip(self.words, self.active))
        return "".join(pieces).replace("\ufffd", "").replace("\n", "↵")


@dataclass(frozen=True)
class Examples:
    """Windows to explain a latent by, the strongest first, and others to judge the explanation by, shuffled."""

    explain: tuple[Window, ...]
    judge: tuple[Window, ...]


@dataclass(frozen=True)
class Counts:
    """The numbers of windows shown to explain and to judge, and how far each reaches to either side."""

    top_explain: int
    weighted_explain: int
    top_judge: int
    weighted_judge: int
    random_judge: int
    buffer: int
    threshold: float


def pick(
    text: Text, words: Sequence[str], values: Tensor, counts: Counts, generator: torch.Generator
) -> Examples | None:
    """Choose a latent's examples.

    The strongest windows share no position as a centre within the buffer of another's. The weighted ones are drawn in
    proportion to the squared activation, below the weakest of the strongest ones. A random window counts as silent.

    Args:
        text: the blocks.
        words: the text of every token of the vocabulary.
        values: [n, ctx] the latent's activations, 0 where it is silent and at positions that do not count.
        counts: how many of which kind.
        generator: draws the windows and the split of them.

    Returns:
        The examples; None when the latent fires in too few places.
    """
    centres = text.centres(counts.buffer)
    flat = torch.where(centres, values, 0.0).flatten()
    wanted = counts.top_explain + counts.top_judge
    top = _strongest(flat, text.tokens.shape[1], wanted, counts.buffer)
    if len(top) < wanted:
        return None
    weights = torch.where(flat < flat[top[-1]], flat, 0.0).double().square()
    drawn = counts.weighted_explain + counts.weighted_judge
    if int((weights > 0).sum()) < drawn:
        return None
    candidates = weights.nonzero().squeeze(1)
    weighted = candidates[torch.multinomial(weights[candidates], drawn, generator=generator)]
    places = centres.flatten().nonzero().squeeze(1)
    random = places[torch.randint(len(places), (counts.random_judge,), generator=generator)]

    def windows(chosen: Tensor, *, silent: bool = False) -> list[Window]:
        found = []
        for place in chosen.tolist():
            row, column = divmod(place, text.tokens.shape[1])
            span = slice(column - counts.buffer, column + counts.buffer + 1)
            acts = torch.zeros(2 * counts.buffer + 1) if silent else values[row, span]
            shown = tuple(words[token] for token in text.tokens[row, span].tolist())
            found.append(Window(shown, tuple((acts > limit).tolist()), float(acts.max())))
        return found

    width = torch.arange(-counts.buffer, counts.buffer + 1)
    limit = counts.threshold * float(values.flatten()[top[:, None] + width].max())
    top = top[torch.randperm(len(top), generator=generator)]
    weighted = weighted[torch.randperm(len(weighted), generator=generator)]
    explain = windows(torch.cat([top[: counts.top_explain], weighted[: counts.weighted_explain]]))
    judge = windows(torch.cat([top[counts.top_explain :], weighted[counts.weighted_explain :]]))
    judge += windows(random, silent=True)
    order = torch.randperm(len(judge), generator=generator).tolist()
    by_strength = sorted(explain, key=lambda window: window.top, reverse=True)
    return Examples(tuple(by_strength), tuple(judge[index] for index in order))


def _strongest(flat: Tensor, width: int, count: int, buffer: int) -> Tensor:
    """Flat positions of the largest values above 0, none within `buffer` of a larger one in the same row of `width`."""
    found: list[int] = []
    taken: set[tuple[int, int]] = set()
    alive = flat.nonzero().squeeze(1)
    for place in alive[flat[alive].argsort(descending=True, stable=True)].tolist():
        row, column = divmod(place, width)
        if (row, column) in taken:
            continue
        found.append(place)
        taken.update((row, column + offset) for offset in range(-buffer, buffer + 1))
        if len(found) == count:
            break
    return torch.tensor(found, dtype=torch.int64)
