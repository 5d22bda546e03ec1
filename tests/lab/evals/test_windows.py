"""Which windows of text are shown of a latent, against a plain reading of the rules."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from lab.evals.windows import Counts, Text, Window, pick

N, WIDTH, BUFFER = 30, 20, 3
COUNTS = Counts(
    top_explain=4, weighted_explain=2, top_judge=2, weighted_judge=1, random_judge=5, buffer=BUFFER, threshold=0.01
)
WORDS = [f"w{index} " for index in range(N * WIDTH)]
TOKENS = torch.arange(N * WIDTH).view(N, WIDTH)  # every token is its own place, so that a window says where it is from


def values(seed: int) -> tuple[Text, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    length = torch.randint(10, WIDTH + 1, (N,), generator=generator)
    acts = torch.rand(N, WIDTH, generator=generator) * (torch.rand(N, WIDTH, generator=generator) < 0.3)
    acts[torch.arange(WIDTH) >= length[:, None]] = 0
    return Text(TOKENS, length), acts


def place(window: Window) -> int:
    """The flat position of a window's centre."""
    return int(window.words[BUFFER].strip()[1:])


@pytest.mark.parametrize("seed", range(5))
def test_strong_windows_come_first_and_weighted_ones_are_weaker(seed: int) -> None:
    text, acts = values(seed)
    found = pick(text, WORDS, acts, COUNTS, torch.Generator().manual_seed(seed))
    assert found is not None
    allowed = [i for i in range(N * WIDTH) if BUFFER <= i % WIDTH < int(text.length[i // WIDTH]) - BUFFER]
    strongest: list[int] = []
    for i in sorted(allowed, key=lambda i: -float(acts.flatten()[i])):
        if all(i // WIDTH != j // WIDTH or abs(i - j) > BUFFER for j in strongest):
            strongest.append(i)
        if len(strongest) == 6:
            break
    fires = [window for window in (*found.explain, *found.judge) if window.top > 0]
    centres = {place(window) for window in fires}
    assert set(strongest) <= centres
    weakest = min(float(acts.flatten()[i]) for i in strongest)
    weighted = centres - set(strongest)
    assert len(weighted) == 3
    assert all(0 < float(acts.flatten()[i]) < weakest for i in weighted)
    assert centres <= set(allowed)
    assert sum(place(window) in strongest for window in found.explain) == 4
    assert [window.top for window in found.explain] == sorted((w.top for w in found.explain), reverse=True)
    assert len(found.judge) == 8
    assert sum(window.fires for window in found.judge) == 3
    limit = 0.01 * max(window.top for window in fires if place(window) in strongest)
    for window in fires:
        row, column = divmod(place(window), WIDTH)
        around = acts[row, column - BUFFER : column + BUFFER + 1]
        assert window.active == tuple((around > limit).tolist())


def test_the_same_generator_gives_the_same_windows_and_another_others() -> None:
    text, acts = values(0)
    first, again, other = (pick(text, WORDS, acts, COUNTS, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_latent_that_fires_too_rarely_has_no_examples() -> None:
    text, acts = values(0)
    few = torch.where(acts >= acts.flatten().topk(5).values[-1], acts, 0.0)
    assert pick(text, WORDS, few, COUNTS, torch.Generator()) is None
    equal = (acts > 0).float()  # nothing is weaker than the strongest
    assert pick(text, WORDS, equal, COUNTS, torch.Generator()) is None
    assert pick(text, WORDS, torch.zeros_like(acts), COUNTS, torch.Generator()) is None
    no_random = dataclasses.replace(COUNTS, random_judge=0)
    assert pick(text, WORDS, acts, no_random, torch.Generator()) is not None


def test_a_window_is_shown_on_one_line_with_its_tokens_marked() -> None:
    window = Window(("a", "\n", " b", "\ufffd"), (False, False, True, False), 1.0)
    assert window.shown(marked=True) == "a↵<< b>>"
    assert window.shown(marked=False) == "a↵ b"
    assert window.fires
