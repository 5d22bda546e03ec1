"""Probes against scikit-learn, and sparse against dense."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score as sk_f1

from lab.evals.probes import f1_score, fit_logistic, stack_sparse, train_probe


def sparse_inputs(n: int = 600, d: int = 40, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Nonnegative sparse inputs in which coordinate c speaks for class c of 5."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.relu(torch.randn(n, d, generator=generator) - 1)
    labels = torch.randint(0, 5, (n,), generator=generator)
    x[torch.arange(n), labels] += 2 + torch.rand(n, generator=generator)
    return x, labels


@pytest.mark.parametrize("k", [1, 3, 10])
def test_logistic_regressions_equal_sklearns(k: int) -> None:
    x, labels = sparse_inputs()
    x = 20 * x[:, :k]
    y = torch.stack([labels == c for c in range(5)])
    found = fit_logistic(x.expand(5, -1, -1), y)
    for c in range(5):
        model = LogisticRegression(class_weight="balanced", max_iter=5000, tol=1e-8).fit(
            x.double().numpy(), y[c].numpy()
        )
        np.testing.assert_allclose(found.weight[c].numpy(), model.coef_[0], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(found.bias[c].item(), model.intercept_[0], rtol=1e-4, atol=1e-4)


def test_logistic_regression_survives_separable_empty_and_constant_problems() -> None:
    x = torch.zeros(3, 50, 2)
    x[0, :10] = 1000.0
    y = torch.zeros(3, 50, dtype=torch.bool)
    y[0, :10] = True
    y[1, :5] = True
    found = fit_logistic(x, y)
    assert torch.isfinite(found.weight).all()
    assert torch.isfinite(found.bias).all()
    assert torch.equal(found.logits(x[0].double())[:, 0] > 0, y[0])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_f1_equals_sklearns(pairs: list[tuple[bool, bool]]) -> None:
    predicted, true = (torch.tensor(column) for column in zip(*pairs))
    assert f1_score(predicted, true).item() == pytest.approx(sk_f1(true, predicted, zero_division=0))


def test_stacking_keeps_every_value() -> None:
    x, _ = sparse_inputs()
    assert torch.equal(stack_sparse(x.split(100)).to_dense(), x)
    assert torch.equal(
        stack_sparse([torch.zeros(3, 4), x[:2, :4]]).to_dense(), torch.cat([torch.zeros(3, 4), x[:2, :4]])
    )


def test_a_probe_on_sparse_inputs_is_the_one_on_dense_inputs() -> None:
    x, labels = sparse_inputs()
    kinds = [train_probe(each, labels, 5, seed=3, batch_size=128, l1=0.01) for each in (x, stack_sparse([x]))]
    torch.testing.assert_close(kinds[0].weight, kinds[1].weight, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(kinds[0].bias, kinds[1].bias, atol=1e-4, rtol=1e-3)


def test_the_same_seed_gives_the_same_probe_and_another_seed_another() -> None:
    x, labels = sparse_inputs()
    first, again, other = (train_probe(x, labels, 5, seed=s, batch_size=128, epochs=3).weight for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_probe_reads_the_classes_and_l1_keeps_the_inputs_that_speak_for_them() -> None:
    x, labels = sparse_inputs()
    probe = train_probe(x, labels, 5, seed=0, batch_size=32, l1=0.01)
    assert (probe.logits(x).argmax(1) == labels).float().mean() > 0.95
    assert probe.weight.argmax(1).tolist() == list(range(5))
    assert (probe.weight[:, 5:].abs() < 0.05).float().mean() > 0.8


def test_gradients_are_those_of_torchs_weighted_cross_entropy() -> None:
    """One full-batch step of Adam moves each weight by the sign of its gradient."""
    x, labels = sparse_inputs(100, 8)
    start = train_probe(x, labels, 5, seed=0, batch_size=100, epochs=1, lr=1e-12, end_lr=1e-12)
    moved = train_probe(x, labels, 5, seed=0, batch_size=100, epochs=1, lr=1e-3, end_lr=1e-3)
    weight = start.weight.clone().requires_grad_()
    y = torch.nn.functional.one_hot(labels, 5).float()
    pull = (len(y) - y.sum(0)) / y.sum(0)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(x @ weight.T + start.bias, y, pos_weight=pull)
    loss.backward()
    assert weight.grad is not None
    clear = weight.grad.abs() > 1e-4
    torch.testing.assert_close(
        (moved.weight - start.weight)[clear], -1e-3 * weight.grad.sign()[clear], atol=2e-5, rtol=0.02
    )
