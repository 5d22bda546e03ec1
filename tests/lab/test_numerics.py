"""Schedules, the geometric median, the decoder's norms, and values read late."""

import pytest
import torch
from torch import nn

from lab.numerics import Delayed, geometric_median, remove_parallel_gradient, set_decoder_norm, warmup, warmup_decay


def test_warmup_decay() -> None:
    factors = [warmup_decay(step / 100, 0.1, 0.2) for step in range(100)]
    assert factors[0] == pytest.approx(0.01)
    assert factors[5] == pytest.approx(0.505)
    assert all(factor == 1.0 for factor in factors[10:80])
    assert factors[90] == pytest.approx(0.5)
    assert factors[99] == pytest.approx(0.05)
    assert [warmup_decay(step / 10, 0.0, 0.0) for step in range(10)] == [1.0] * 10


def test_warmup() -> None:
    assert warmup(0.0, 0.5) == pytest.approx(0.01)
    assert warmup(0.5, 0.5) == 1.0
    assert warmup(0.0, 0.0) == 1.0


def test_geometric_median_is_not_moved_by_outliers() -> None:
    points = torch.randn(400, 5, generator=torch.Generator().manual_seed(0)) + 3
    points[:20] += 1e4
    assert (geometric_median(points) - 3).abs().max() < 0.3
    assert (points.mean(dim=0) - 3).abs().max() > 100


def test_geometric_median_on_one_of_the_points() -> None:
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    assert geometric_median(points).abs().max() < 1e-6


def test_the_decoder_keeps_unit_rows() -> None:
    weight = nn.Parameter(torch.randn(7, 4))
    set_decoder_norm(weight.data)
    torch.testing.assert_close(weight.norm(dim=1), torch.ones(7))
    weight.grad = torch.randn(7, 4)
    remove_parallel_gradient(weight)
    torch.testing.assert_close((weight.grad * weight).sum(dim=1), torch.zeros(7), atol=1e-6, rtol=0)
    weight.grad = None
    remove_parallel_gradient(weight)


def test_a_row_of_zeros_stays_finite() -> None:
    weight = torch.zeros(2, 3)
    set_decoder_norm(weight)
    assert torch.isfinite(weight).all()


def test_a_delayed_value_is_read_late() -> None:
    value = Delayed(-1, delay=3)
    seen = []
    for step in range(6):
        value.put(torch.tensor(step))
        seen.append(value.value)
    assert seen == [-1, -1, -1, 0, 1, 2]
