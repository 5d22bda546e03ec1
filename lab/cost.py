"""The size of an SAE, and what a token costs: read off its weights and its graph, not off what its experiment says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from lab.graphs import Graph, references

_PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "convolution", "_cdist_forward"}
# What only names the same numbers anew, or fills a tensor with one number.
_FREE = {
    *("view", "unsafe_view", "_unsafe_view", "unsqueeze", "squeeze", "expand", "permute", "transpose", "t", "select"),
    *("slice", "alias", "detach", "clone", "_to_copy", "lift_fresh", "lift_fresh_copy", "unbind", "split", "chunk"),
    *("split_with_sizes", "cat", "select_scatter", "slice_scatter", "diagonal", "repeat", "flip", "roll", "narrow"),
    *("zeros", "ones", "full", "arange", "scalar_tensor", "zeros_like", "ones_like", "full_like", "new_zeros"),
    *("new_ones", "new_full", "constant_pad_nd"),
}
# Linear in what varies with the row, as they are used in an encoder of one layer; what is not here bends.
_LINEAR = {"add", "sub", "mul", "div", "neg", "sum", "mean", "rsub", "index", "index_select", "gather", "scatter"}


@dataclass(frozen=True)
class Cost:
    """The size of an SAE and what it costs at inference.

    Args:
        d_sae: number of latents.
        parameters: numbers that it is made of, constants of its encoder too.
        encode_flop: floating-point operations of encoding a token: 2·m·n·k of a product of [m, k] and [k, n], and of
            any other operation one for each number that it reads or gives, whichever are more.
        decode_flop: of decoding a token with all latents: 2 · d_sae · d_in.
        depth: the most products of matrices that follow one another between a token and its latents; 1 for an
            encoder of one layer, more for hidden layers and for rounds of optimisation.
        activation: the operations that bend, in the alphabet's order, such as "relu topk".
    """

    d_sae: int
    parameters: int
    encode_flop: int
    decode_flop: int
    depth: int
    activation: str

    def to_json(self) -> dict[str, int | str]:
        """Plain data."""
        return dict(vars(self))


def measure(encode: Graph, row: Tensor, weights: Mapping[str, Tensor]) -> Cost:
    """Read the size and the cost of an SAE off its parts.

    Args:
        encode: the encoder.
        row: [d_in] any row, on the encoder's device.
        weights: all tensors of the SAE, with W_dec [d_sae, d_in] among them.
    """
    d_sae, d_in = weights["W_dec"].shape
    flop, bends, depths = 0, set[str](), list[int]()
    for operation, given, made in encode.walk(row):
        name = operation.name.partition(".")[0]
        product = name in _PRODUCTS
        before = (depths[ref["node"]] for ref in references(operation.given) if "node" in ref)
        depths.append(max(before, default=0) + product)
        if product:
            flop += _product(name, given, made)
        elif name not in _FREE:
            flop += max(sum(tensor.numel() for tensor in part) for part in (given, made))
            if name not in _LINEAR:
                bends.add(name)
    parameters = sum(tensor.numel() for tensor in weights.values())
    return Cost(d_sae, parameters, flop, 2 * d_sae * d_in, max(depths, default=0), " ".join(sorted(bends)))


def _product(name: str, given: Sequence[Tensor], made: Sequence[Tensor]) -> int:
    """The operations of a product: twice the numbers it gives, times the length of the sum that each is."""
    if name == "convolution":  # a filter stands for each channel that it gives
        return sum(2 * tensor.numel() * (given[1].numel() // given[1].shape[0]) for tensor in made)
    # What is added beside the product comes first.
    factor = given[1] if name in ("addmm", "baddbmm", "addmv") else given[0]
    return sum(2 * tensor.numel() * factor.shape[-1] for tensor in made)
