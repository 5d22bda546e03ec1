"""Absorption on made-up residuals, where what is absorbed is known, and its rules against a plain reading of them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from lab.errors import LabError
from lab.evals import absorption
from lab.evals.absorption import Settings, Setup, absorbed
from lab.evals.base import Context
from lab.evals.probes import f1_score, train_probe
from lab.settings import Profile

D = 40
WORDS_A_LETTER = 40
QUICK = Settings(sparse_epochs=20, sparse_batch_size=64)


def plain_reading(x: Tensor, acts: Tensor, W_dec: Tensor, direction: Tensor, main: list[int]) -> tuple[float, bool]:
    """SAEBench's rules for one word, one after the other."""
    unit = direction / direction.norm()
    cosine = [float(torch.nn.functional.cosine_similarity(unit, row, dim=0)) for row in W_dec]
    share = [float(a) * c for a, c in zip(acts, cosine)]
    total, own = float(x @ unit), sum(share[i] for i in main)
    others = sorted(share[i] for i in range(len(share)) if i not in main and cosine[i] >= 0.1 and share[i] > 0)
    taken = sum(others[-3:])
    if own >= total or taken / total < 0.4:
        fraction = 0.0
    elif own <= 0:
        fraction = 1.0
    else:
        part = min(taken, total - own)
        fraction = min(1.0, max(0.0, part / (part + own)))
    top = max(range(len(share)), key=lambda i: share[i])
    full = (
        all(float(acts[i]) < 1e-8 for i in main) and cosine[top] >= 0.025 and total >= 0 and share[top] / total >= 0.4
    )
    return fraction, full


@pytest.mark.parametrize("seed", range(20))
def test_absorbed_is_what_the_rules_say(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    W_dec = torch.nn.functional.normalize(torch.randn(30, D, generator=generator), dim=1)
    direction = W_dec[0] + 0.7 * W_dec[1] + 0.5 * W_dec[2] + 0.5 * W_dec[3]
    acts = torch.relu(torch.randn(50, 30, generator=generator))
    acts[::2, :2] = 0  # on every other word the main features are silent
    x = acts @ W_dec + 0.3 * torch.randn(50, D, generator=generator)
    main = [0, 1][: 1 + seed % 2]
    fraction, full = absorbed(x, acts, W_dec, direction, main, Settings())
    expected = [plain_reading(*row, W_dec, direction, main) for row in zip(x, acts)]
    torch.testing.assert_close(fraction, torch.tensor([row[0] for row in expected]), atol=1e-5, rtol=1e-4)
    assert full.tolist() == [row[1] for row in expected]
    assert 0 < fraction.count_nonzero() < 50


def planted_setup(absorbing: set[int]) -> tuple[Setup, object]:
    """Residuals 10·letter + 6·word direction; an SAE in which every third word of `absorbing` letters is absorbed."""
    generator = torch.Generator().manual_seed(0)
    letters = torch.arange(26).repeat_interleave(WORDS_A_LETTER)
    style = torch.zeros(len(letters), D)
    style[:, 26:] = torch.nn.functional.normalize(torch.randn(len(letters), D - 26, generator=generator), dim=1)
    x = 10 * torch.eye(D)[letters] + 6 * style
    taken = torch.tensor([int(letter) in absorbing for letter in letters]) & (torch.arange(len(letters)) % 3 == 0)
    absorbers = torch.nn.functional.normalize(10 * torch.eye(D)[letters] + 6 * style, dim=1)
    W_dec = torch.cat([torch.eye(D), absorbers])
    order = torch.randperm(len(letters), generator=generator)
    cut = int(0.7 * len(order))

    class Sae:
        d_sae = len(W_dec)

        def __init__(self) -> None:
            self.W_dec = W_dec
            self.device = torch.device("cpu")

        def encode(self, batch: Tensor) -> Tensor:
            which = (batch @ x.T).argmax(1)
            acts = torch.zeros(len(batch), len(W_dec))
            rows = torch.arange(len(batch))
            acts[:, :D] = torch.relu(batch)
            acts[rows[taken[which]], letters[which[taken[which]]]] = 0
            acts[rows[taken[which]], D + which[taken[which]]] = x[which[taken[which]]].norm(dim=1)
            return acts

    probe = train_probe(x[order[:cut]], letters[order[:cut]], 26, seed=0, batch_size=64)
    test, test_letters = x[order[cut:]], letters[order[cut:]]
    f1 = f1_score(probe.logits(test) > 0, test_letters[:, None] == torch.arange(26))
    setup = Setup(x[order[:cut]], letters[order[:cut]], test, test_letters, probe, f1)
    return setup, Sae()


def test_planted_absorption_is_found_in_its_letters_and_nowhere_else(tiny_context: Context) -> None:
    setup, sae = planted_setup({2, 18})
    scores = absorption.score(tiny_context, setup, sae, QUICK)  # type: ignore[arg-type]
    rows = {row["letter"]: row for row in scores.details["letters"]}
    assert all(row["kept"] for row in rows.values())
    for letter, row in rows.items():
        index = "abcdefghijklmnopqrstuvwxyz".index(letter)
        assert row["split_features"][0] == index
        if letter in "cs":
            assert row["full_absorption_rate"] == pytest.approx(1 / 3, abs=0.2)
            assert row["mean_absorption_fraction"] >= row["full_absorption_rate"]
            assert row["num_full_absorption"] > 0
        else:
            assert row["full_absorption_rate"] == row["mean_absorption_fraction"] == 0
            assert row["f1"] == 1
    mean = sum(row["full_absorption_rate"] for row in rows.values()) / 26
    assert scores.metrics["mean_full_absorption_score"] == pytest.approx(mean)
    assert set(scores.metrics) == set(absorption.METRICS)


def test_an_sae_without_absorption_scores_zero_and_two_calls_agree(tiny_context: Context) -> None:
    setup, sae = planted_setup(set())
    first, again = (
        absorption.score(tiny_context, setup, sae, QUICK)  # type: ignore[arg-type]
        for _ in range(2)
    )
    assert first == again
    assert first.metrics["mean_full_absorption_score"] == 0
    assert first.metrics["mean_num_split_features"] == 1
    assert first.metrics["mean_letter_f1"] == 1


def test_letters_that_the_probe_cannot_read_are_left_out(tiny_context: Context) -> None:
    setup, sae = planted_setup({2})
    f1 = setup.probe_f1.clone()
    f1[2] = 0.5
    setup = dataclasses.replace(setup, probe_f1=f1)
    scores = absorption.score(tiny_context, setup, sae, QUICK)  # type: ignore[arg-type]
    assert not scores.details["letters"][2]["kept"]
    assert scores.metrics["mean_full_absorption_score"] == 0


def test_set_up_on_the_real_model_reads_letters_and_is_cached(tiny_context: Context, tiny_profile: Profile) -> None:
    settings = Settings(**tiny_profile.evals["absorption"])
    setup = absorption.prepare(tiny_context, settings)
    assert len(setup.train) + len(setup.test) == settings.max_words
    assert setup.d_model == 576
    assert setup.probe_f1.mean() > 0.3
    again = absorption.prepare(tiny_context, settings)
    assert torch.equal(setup.test, again.test)
    assert torch.equal(setup.probe.weight, again.probe.weight)


def test_too_few_letters_are_an_error(tiny_context: Context, tiny_profile: Profile) -> None:
    settings = Settings(**{**tiny_profile.evals["absorption"], "min_letters": 27})
    with pytest.raises(LabError, match="27 are needed"):
        absorption.prepare(tiny_context, settings)


def test_a_senseless_setting_is_an_error(tiny_context: Context) -> None:
    with pytest.raises(LabError, match="train_fraction"):
        absorption.prepare(tiny_context, Settings(train_fraction=1.0))
