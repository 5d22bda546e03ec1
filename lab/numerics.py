"""Small numeric steps that every SAE trainer shares and an idea has no reason to change."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from torch import Tensor, nn


def warmup_decay(progress: float, warmup_fraction: float, decay_fraction: float) -> float:
    """A factor for the learning rate: linear from near 0 to 1, then 1, then linear to near 0 at the end.

    Args:
        progress: share of the run that is done, in [0, 1).
        warmup_fraction: share of the run in which it rises; at its very start it is a hundredth.
        decay_fraction: share of the run in which it falls.
    """
    falling = (1.0 - progress) / decay_fraction if decay_fraction > 0 else 1.0
    return min(warmup(progress, warmup_fraction), falling, 1.0)


def warmup(progress: float, fraction: float) -> float:
    """A factor that is linear from a hundredth to 1 over a share of the run, then 1."""
    return min(1.0, 0.01 + 0.99 * progress / fraction) if fraction > 0 else 1.0


class Delayed:
    """A value that is on the GPU, read on the host `delay` steps late.

    Reading it at once would make the host wait for all work that is queued; a few steps later the copy is there. The
    delay is the same on every device, so that results are.
    """

    def __init__(self, initial: Any, delay: int = 16) -> None:
        self._last = initial
        self._delay = delay
        self._waiting: deque[tuple[Tensor, Any]] = deque()

    def put(self, value: Tensor) -> None:
        """Send a tensor of one element, once a step."""
        done = None
        if value.device.type == "cuda":
            host = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
            host.copy_(value.detach(), non_blocking=True)
            done = torch.cuda.Event()
            done.record()
            value = host
        self._waiting.append((value, done))

    @property
    def value(self) -> Any:
        """The value put `delay` steps before, as a Python number; before that the initial value."""
        while len(self._waiting) > self._delay:
            tensor, done = self._waiting.popleft()
            if done is not None:
                done.synchronize()
            self._last = tensor.item()
        return self._last


@torch.no_grad()
def geometric_median(points: Tensor, iterations: int = 30) -> Tensor:
    """The point with the least sum of distances, by Weiszfeld's iteration from the mean.

    Bricken et al. 2023 and Gao et al. 2024 (appendix A) start b_dec there: unlike the mean, a few points of very large
    norm do not move it. The number of iterations is fixed, so a GPU is never waited for.

    Args:
        points: [n, d]

    Returns:
        [d]
    """
    guess = points.mean(dim=0)
    for _ in range(iterations):
        weight = 1 / (points - guess).norm(dim=1).clamp(min=1e-6)
        guess = (weight @ points) / weight.sum()
    return guess


@torch.no_grad()
def set_decoder_norm(W_dec: Tensor) -> None:
    """Scale the rows of a decoder [d_sae, d_in] to unit norm, in place."""
    W_dec.div_(W_dec.norm(dim=1, keepdim=True).clamp(min=1e-8))


@torch.no_grad()
def remove_parallel_gradient(W_dec: nn.Parameter) -> None:
    """Take from the gradient of unit decoder rows [d_sae, d_in] its part along each row, in place.

    That part would only change norms that are set back after the step, yet Adam would count it in its moments (Bricken
    et al. 2023, "Neuron resampling and optimisation"; Gao et al. 2024, section 2.3 trains the same way).
    """
    if W_dec.grad is not None:
        along = torch.linalg.vecdot(W_dec.grad, W_dec)
        W_dec.grad.addcmul_(along[:, None], W_dec, value=-1)
