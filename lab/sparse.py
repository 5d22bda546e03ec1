"""Matrix products in which most entries are zero, as an SAE's latents and their gradients are.

On a CPU the products run over the entries that are not zero: 32 of 2,304 latents cost a fiftieth of the dense product.
On a GPU, whose dense product is faster and where counting entries would make the host wait, they are dense.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_DENSE_FROM = 0.06  # share of entries that are not zero from which the dense product is faster


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x @ weight + bias, with a backward pass over the entries of the gradient that are not zero.

    It is exact for every gradient, and fast when the latents are sparse and nothing else enters the loss.

    Args:
        x: [batch, d_in]
        weight: [d_in, d_sae]; fastest when its transpose is contiguous.
        bias: [d_sae]

    Returns:
        [batch, d_sae]
    """
    if _dense_only(x, weight):
        return x @ weight + bias
    found: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return found


def combine(values: Tensor, columns: Tensor | None, weight: Tensor) -> Tensor:
    """Sum the rows of `weight` by sparse latents: what dense latents @ weight gives.

    The gradient reaches only latents that are not zero, as ReLU and top-k would have it.

    Args:
        values: [batch, k] active latents, or [batch, d_sae] with most of them zero when `columns` is None.
        columns: [batch, k] int64, which latent each value is.
        weight: [d_sae, d_out]

    Returns:
        [batch, d_out]
    """
    if _dense_only(values, weight):
        return dense(values, columns, weight.shape[0]) @ weight
    if columns is not None:
        flat_values, flat_columns = values.flatten(), columns.flatten()
        rows = torch.arange(len(values)).repeat_interleave(columns.shape[1])
    else:
        flat = values.detach().flatten().nonzero().flatten()
        if len(flat) > _DENSE_FROM * values.numel():
            return values @ weight
        flat_values, flat_columns = values.flatten().index_select(0, flat), flat % values.shape[1]
        rows = flat // values.shape[1]
    found: Tensor = _Combine.apply(  # type: ignore[no-untyped-call]
        flat_values, flat_columns, rows, weight, len(values)
    )
    return found


def dense(values: Tensor, columns: Tensor | None, width: int) -> Tensor:
    """[batch, width] latents from their sparse form: values and columns [batch, k]."""
    if columns is None:
        return values
    zeros = torch.zeros(values.shape[0], width, dtype=values.dtype, device=values.device)
    return zeros.scatter(1, columns, values)


def _dense_only(x: Tensor, weight: Tensor) -> bool:
    training = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    return not training or x.device.type != "cpu" or torch.is_autocast_enabled("cpu")


def _by_row(values: Tensor, columns: Tensor, rows: Tensor, weight: Tensor, count: int) -> Tensor:
    """[count, d]: for each row the sum of its values times the rows of `weight` [width, d] that their columns name.

    `values`, `columns` and `rows` are flat, [entries], and sorted by row.
    """
    starts = torch.searchsorted(rows, torch.arange(count))
    return F.embedding_bag(columns, weight, starts, mode="sum", per_sample_weights=values)


def _by_column(values: Tensor, columns: Tensor, rows: Tensor, inputs: Tensor, width: int) -> Tensor:
    """[width, d]: the same for the transpose, with `inputs` [count, d]."""
    sorted_columns, order = columns.to(torch.int32).sort()
    return _by_row(values.index_select(0, order), rows.index_select(0, order), sorted_columns.long(), inputs, width)


class _Combine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, columns: Tensor, rows: Tensor, weight: Tensor, count: int) -> Tensor:
        ctx.save_for_backward(values, columns, rows, weight)
        return _by_row(values, columns, rows, weight, count)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None, Tensor | None, None]:
        values, columns, rows, weight = ctx.saved_tensors
        grad = grad.contiguous()
        grad_values = grad_weight = None
        if ctx.needs_input_grad[0]:
            no_starts = torch.empty(0, dtype=torch.long)
            grad_values = torch.ops.aten._embedding_bag_per_sample_weights_backward(
                grad, weight, columns, no_starts, rows, 0
            )
        if ctx.needs_input_grad[3]:
            grad_weight = _by_column(values, columns, rows, grad, len(weight))
        return grad_values, None, None, grad_weight, None


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.addmm(bias, x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor]:
        x, weight = ctx.saved_tensors
        width = grad.shape[1]
        flat = grad.flatten().nonzero().flatten()
        grad_x = grad_weight = None
        if len(flat) > _DENSE_FROM * grad.numel():
            if ctx.needs_input_grad[0]:
                grad_x = grad @ weight.T
            if ctx.needs_input_grad[1]:
                grad_weight = (grad.T @ x).T
            return grad_x, grad_weight, grad.sum(dim=0)
        values, columns, rows = grad.flatten().index_select(0, flat), flat % width, flat // width
        if ctx.needs_input_grad[0]:
            grad_x = _by_row(values, columns, rows, weight.T.contiguous(), len(grad))
        if ctx.needs_input_grad[1]:
            grad_weight = _by_column(values, columns, rows, x.contiguous(), width).T
        return grad_x, grad_weight, torch.zeros(width).index_add_(0, columns, values)
