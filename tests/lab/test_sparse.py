"""Sparse products equal the dense ones, forward and backward."""

import pytest
import torch
from torch import Tensor

from lab import sparse

BATCH, D_IN, D_SAE, K = 32, 12, 200, 5


def _tensors(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def _gradients(output: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    target = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    return list(torch.autograd.grad((output - target).square().sum(), inputs, retain_graph=True))


@pytest.mark.parametrize("contiguous_transpose", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5])
def test_linear(share: float, contiguous_transpose: bool) -> None:
    x, weight, bias = _tensors((BATCH, D_IN), (D_IN, D_SAE), (D_SAE,))
    if contiguous_transpose:
        weight = weight.detach().T.contiguous().T.requires_grad_()
    kept = torch.rand(BATCH, D_SAE, generator=torch.Generator().manual_seed(2)) < share
    found, expected = sparse.linear(x, weight, bias), x @ weight + bias
    torch.testing.assert_close(found, expected)
    inputs = [x, weight, bias]
    for ours, theirs in zip(_gradients(found * kept, inputs), _gradients(expected * kept, inputs), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_linear_without_a_gradient_for_its_input() -> None:
    x, weight, bias = _tensors((BATCH, D_IN), (D_IN, D_SAE), (D_SAE,))
    x = x.detach()
    values = sparse.linear(x, weight, bias).topk(K, dim=-1).values
    (ours,) = torch.autograd.grad(values.sum(), [weight])
    (theirs,) = torch.autograd.grad((x @ weight + bias).topk(K, dim=-1).values.sum(), [weight])
    torch.testing.assert_close(ours, theirs)


def test_combine_of_top_k() -> None:
    pre, weight = _tensors((BATCH, D_SAE), (D_SAE, D_IN))
    values, columns = pre.topk(K, dim=-1)
    found = sparse.combine(values, columns, weight)
    expected = torch.zeros(BATCH, D_SAE).scatter(1, columns, values) @ weight
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(_gradients(found, [pre, weight]), _gradients(expected, [pre, weight]), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("shift", [0.0, 2.0, 9.0])
def test_combine_of_relu(shift: float) -> None:
    """Half of the latents active (the dense product), a few, none at all."""
    pre, weight = _tensors((BATCH, D_SAE), (D_SAE, D_IN))
    values = (pre - shift).relu()
    found, expected = sparse.combine(values, None, weight), values @ weight
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(_gradients(found, [pre, weight]), _gradients(expected, [pre, weight]), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_rows_without_any_latent() -> None:
    weight = torch.randn(D_SAE, D_IN, requires_grad=True)
    values = torch.zeros(BATCH, D_SAE)
    values[3, 7] = 2.0
    values.requires_grad_()
    found = sparse.combine(values, None, weight)
    found.sum().backward()
    assert torch.equal(found[3], 2 * weight[7])
    assert found[4].abs().max() == 0
    assert weight.grad is not None
    assert weight.grad.nonzero()[:, 0].unique().tolist() == [7]


def test_dense() -> None:
    values, columns = torch.tensor([[1.0, 2.0]]), torch.tensor([[3, 0]])
    assert sparse.dense(values, columns, 4).tolist() == [[2.0, 0.0, 0.0, 1.0]]
    assert sparse.dense(values, None, 2) is values


def test_products_are_the_same_under_autocast_and_without_gradients() -> None:
    x, weight, bias = _tensors((BATCH, D_IN), (D_IN, D_SAE), (D_SAE,))
    with torch.no_grad():
        torch.testing.assert_close(sparse.linear(x, weight, bias), x @ weight + bias)
    with torch.autocast("cpu", torch.bfloat16):
        values, columns = sparse.linear(x, weight, bias).topk(K, dim=-1)
        out = sparse.combine(values, columns, weight.T)
    exact = sparse.dense(*(x @ weight + bias).topk(K, dim=-1), D_SAE) @ weight.T
    assert (out.float() - exact).norm() / exact.norm() < 0.05
