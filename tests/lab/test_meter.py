"""The meter of a run: every operation and update counts, wherever it is hidden, and measuring changes nothing."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lab import sparse
from lab.meter import Meter, Updates, compute

STEPS, ROWS, D_IN, D_SAE = 12, 32, 16, 24
DATA = torch.randn(STEPS, ROWS, D_IN, generator=torch.Generator().manual_seed(1))
# Two products forward, three backward (the data need no gradient), of 2 * rows * d_in * d_sae operations each.
PRODUCTS = 5 * 2 * ROWS * D_IN * D_SAE


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.W_dec = nn.Parameter(F.normalize(torch.randn(D_SAE, D_IN), dim=1))
        self.W_enc = nn.Parameter(self.W_dec.detach().clone().T)

    def forward(self, x):
        return (x @ self.W_enc).relu() @ self.W_dec


def step_of(module, optimizer, x):
    optimizer.zero_grad()
    (module(x) - x).square().mean().backward()
    optimizer.step()


def adam(module):
    return torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)


def run(meter, body=step_of, before=None, after=None, make=adam):
    """A training run as the lab does it: what it hands out is no part of the compute."""
    updates = Updates()
    torch.manual_seed(0)
    module = Small()
    optimizer = make(module)
    if before:
        before(module, optimizer)
    for place, x in enumerate(DATA):
        if meter:
            meter.step(place)
        body(module, optimizer, x)
        if meter:
            meter.pause()
        DATA.sum()
    if meter:
        meter.step(STEPS)
    if after:
        after(module, optimizer)
    return module, compute(module, updates, meter)


def again(count):
    """More steps on the data, with an optimiser of their own."""

    def more(module, optimizer):
        other = adam(module)
        for x in DATA.repeat(count, 1, 1):
            step_of(module, other, x)

    return more


def copies(module, optimizer, x):
    """Three inner steps on a copy, and the copy taken over."""
    inner = copy.deepcopy(module)
    for _ in range(3):
        step_of(inner, adam(inner), x)
    step_of(module, optimizer, x)
    with torch.no_grad():
        for mine, theirs in zip(module.parameters(), inner.parameters()):
            mine.lerp_(theirs, 0.5)


def test_measuring_changes_no_weight_and_counts_what_there_is():
    plain, none = run(None)
    measured, found = run(Meter(STEPS, 0))
    for one, other in zip(plain.parameters(), measured.parameters(), strict=True):
        assert torch.equal(one, other)
    assert none == {"updates": STEPS, "learning_rate": 1e-3, "parameters_trained": 2 * D_IN * D_SAE}
    assert STEPS * PRODUCTS < found["flop"] < 1.2 * STEPS * PRODUCTS
    assert (found["updates"], found["parameters_trained"]) == (STEPS, 2 * D_IN * D_SAE)
    assert found["flop_counted"] < found["flop"]
    assert found["cpu_seconds"] >= 0


def test_which_steps_are_counted_is_drawn_and_their_number_changes_little():
    flops = [run(Meter(STEPS, draw))[1]["flop"] for draw in (1, 2, 1)]
    assert flops[0] == flops[2]
    assert flops[1] == pytest.approx(flops[0], rel=0.02)


def test_what_is_done_before_the_first_batch_and_after_the_last_counts():
    usual = run(Meter(STEPS, 0))[1]
    for where in ("before", "after"):
        found = run(Meter(STEPS, 0), **{where: again(2)})[1]
        assert found["flop"] == pytest.approx(3 * usual["flop"], rel=0.1), where
        assert found["updates"] == 3 * STEPS, where


def test_a_refit_without_gradient_counts():
    def refit(module, optimizer):
        with torch.no_grad():
            for x in DATA:
                latents = (x @ module.W_enc).relu()
                left = latents.T @ latents + 0.1 * torch.eye(D_SAE)
                module.W_dec.copy_(torch.linalg.solve(left, latents.T @ x))

    usual, found = run(Meter(STEPS, 0))[1], run(Meter(STEPS, 0), after=refit)[1]
    assert found["flop"] > 1.5 * usual["flop"]


def test_inner_steps_on_copies_and_several_optimisers_count():
    usual, found = run(Meter(STEPS, 0))[1], run(Meter(STEPS, 0), body=copies)[1]
    assert found["flop"] > 3.5 * usual["flop"]

    def thrice(module, optimizer, x):
        for each in optimizer:
            step_of(module, each, x)

    found = run(Meter(STEPS, 0), body=thrice, make=lambda module: [adam(module) for _ in range(3)])[1]
    assert found["updates"] == 3 * STEPS
    assert found["flop"] == pytest.approx(3 * usual["flop"], rel=0.1)


def test_several_saes_side_by_side_are_so_many_parameters():
    def make(module):
        module.rivals = [Small(), Small()]
        everything = [module, *module.rivals]
        return torch.optim.Adam([one for each in everything for one in each.parameters()], lr=1e-3)

    def body(module, optimizer, x):
        optimizer.zero_grad()
        sum((each(x) - x).square().mean() for each in (module, *module.rivals)).backward()
        optimizer.step()

    found = run(Meter(STEPS, 0), body=body, make=make)[1]
    assert found["parameters_trained"] == 3 * 2 * D_IN * D_SAE
    assert found["updates"] == STEPS


@pytest.mark.parametrize("writes", [1, 2])
def test_updates_by_hand_count_however_often_one_writes(writes):
    def body(module, optimizer, x):
        loss = (module(x) - x).square().mean()
        with torch.no_grad():
            for one, grad in zip(module.parameters(), torch.autograd.grad(loss, list(module.parameters()))):
                for _ in range(writes):
                    one.sub_(0.01 * grad / writes)

    def more(module, optimizer):
        for x in DATA:
            body(module, optimizer, x)

    nothing = {"body": body, "make": lambda module: None}
    assert run(Meter(STEPS, 0), **nothing)[1]["updates"] == STEPS
    assert run(Meter(STEPS, 0), after=more, **nothing)[1]["updates"] == 2 * STEPS


def test_a_step_that_takes_very_long_and_is_not_counted_stands_for_many():
    meter = Meter(100, 0)
    meter.pause()
    meter._flop.clear()
    meter._flop.update({10: 1000, 50: 1000})
    meter._seconds = {place: 1.0 for place in range(1, 99) if place not in (10, 50)}
    assert meter._whole(meter._flop) == 98 * 1000
    meter._seconds[30] = 8.0  # a pause of the machine's is nothing
    assert meter._whole(meter._flop) == 98 * 1000
    meter._seconds[30] = 101.0
    assert meter._whole(meter._flop) == 198 * 1000


def test_products_that_run_over_few_entries_count():
    values, columns = torch.rand(ROWS, 4, requires_grad=True), torch.randint(0, D_SAE, (ROWS, 4))
    weight = torch.randn(D_SAE, D_IN, requires_grad=True)
    meter = Meter(1, 0)
    sparse.combine(values, columns, weight).sum().backward()
    meter.pause()
    meter.step(1)
    # Forward, the gradient of the values and that of the weights.
    assert meter.finish()["flop_counted"] > 3 * 2 * ROWS * 4 * D_IN


@pytest.mark.parametrize("rows", [4, 40])
def test_distances_are_products(rows):
    points, weight = torch.rand(rows, D_IN, requires_grad=True), torch.rand(rows, D_IN)
    meter = Meter(1, 0)
    torch.cdist(points, weight).sum().backward()
    meter.pause()
    meter.step(1)
    assert meter.finish()["flop_counted"] > 2 * 2 * rows * rows * D_IN


def bilinear(x, weight):
    return F.bilinear(torch.ones(len(x), 1), x, weight[:, None])


def recurrent(x, weight):
    return nn.LSTM(D_IN, D_SAE)(x[:, None])[0]


@pytest.mark.parametrize("product", [bilinear, recurrent])
def test_products_by_another_name_count(product):
    x, weight = torch.rand(ROWS, D_IN), torch.rand(D_SAE, D_IN)
    meter = Meter(1, 0)
    product(x, weight)
    meter.pause()
    meter.step(1)
    assert meter.finish()["flop_counted"] >= 2 * ROWS * D_IN * D_SAE


@pytest.mark.parametrize("leave", [torch.Tensor.numpy, np.asarray, np.array, torch.Tensor.tolist, np.from_dlpack])
def test_numbers_that_leave_pytorch_are_counted(leave):
    def body(module, optimizer, x):
        step_of(module, optimizer, x)
        leave(x)

    assert run(Meter(STEPS, 0))[1]["numbers_taken_out"] == 0
    assert run(Meter(STEPS, 0), body=body)[1]["numbers_taken_out"] == DATA.numel()
    plain, measured = run(None, body=body)[0], run(Meter(STEPS, 0), body=body)[0]
    assert all(torch.equal(one, other) for one, other in zip(plain.parameters(), measured.parameters(), strict=True))


def test_the_largest_learning_rate_of_a_step_is_told_wherever_it_is_set():
    def faster(module, optimizer, x):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * (x is not DATA[0])
        step_of(module, optimizer, x)

    assert run(None)[1]["learning_rate"] == 1e-3
    assert run(None, body=faster)[1]["learning_rate"] == 4e-3


def test_a_learning_rate_that_is_a_tensor_is_told():
    def make(module):
        return torch.optim.Adam(module.parameters(), lr=torch.tensor(7e-3))

    assert run(None, make=make)[1]["learning_rate"] == pytest.approx(7e-3)
