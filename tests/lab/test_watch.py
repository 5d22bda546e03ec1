"""The watch over a training loop: each fault is found, and a sound loop is left in peace."""

import pytest
import torch
from torch import nn

from lab.watch import Watch


class Loop:
    """A small training loop, with the parts of the lab that tell the watch."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(8, 4))
        self.optimizer = torch.optim.Adam([self.weight], lr=0.01)
        self.watch = Watch(__file__)

    def run(self, terms, after=lambda loop, batch: None, steps: int = 4) -> list[str]:
        with self.watch:
            for step in range(steps):
                self.watch.next_batch(step)
                batch = torch.randn(16, 8)
                losses = terms(self, batch)
                loss = torch.stack(list(losses.values())).sum()
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                after(self, batch)
                self.watch.logged({"loss": loss, **losses})
            self.watch.exhausted()
        self.watch.close()
        return [*self.watch.findings, *self.watch.idle]


def error(loop, batch):
    return (batch @ loop.weight).square().mean()


SOUND = {
    "one term": lambda loop, x: {"error": error(loop, x)},
    "two terms": lambda loop, x: {"error": error(loop, x), "size": 0.1 * loop.weight.abs().mean()},
    "a term that is zero at first": lambda loop, x: {
        "error": error(loop, x),
        "size": loop.weight.abs().mean() if loop.watch._step > 1 else torch.zeros(()),
    },
    "a sum that starts at a tensor of zero": lambda loop, x: {"error": torch.zeros(()) + error(loop, x)},
    "a product": lambda loop, x: {"error": error(loop, x) * loop.weight.abs().mean()},
}
FAULTY = {
    "times zero": (lambda loop, x: {"e": error(loop, x), "size": 0.0 * loop.weight.abs().mean()}, "'size' has no grad"),
    "detached": (
        lambda loop, x: {"e": error(loop, x), "size": loop.weight.detach().abs().mean()},
        "'size' has no grad",
    ),
    "a constant": (lambda loop, x: {"e": error(loop, x), "data": x.square().mean()}, "'data' has no gradient"),
    "added by a plus": (
        lambda loop, x: {"e": error(loop, x) + 0.0 * loop.weight.sum()},
        "term of the loss has no grad",
    ),
    "scaled as a whole": (
        lambda loop, x: {"e": 0.5 * (error(loop, x) + loop.weight.detach().mean())},
        "term of the loss has no gradient",
    ),
    "empty mean": (lambda loop, x: {"e": error(loop, x) + x[99:].mean().nan_to_num()}, "mean of an empty tensor"),
    "hidden NaN": (lambda loop, x: {"e": error(loop, x) + (x * 0 / 0).nan_to_num().mean()}, "hides NaN values"),
    "masked NaN": (lambda loop, x: {"e": error(loop, x) + (x * 0 / 0).isnan().sum()}, "hides NaN values"),
    "NaN": (lambda loop, x: {"e": error(loop, x).mul(-1).log()}, "the loss is nan at step 0"),
    "infinite gradient": (
        lambda loop, x: {"e": (loop.weight * 0).abs().sqrt().sum()},
        "gradient of a parameter [8, 4]",
    ),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_loop_is_left_in_peace(name: str) -> None:
    assert Loop().run(SOUND[name]) == []


@pytest.mark.parametrize("name", FAULTY)
def test_a_fault_is_found_and_its_line_named(name: str) -> None:
    terms, said = FAULTY[name]
    found = [line for line in Loop().run(terms) if said in line]
    assert len(found) == 1
    assert found[0].startswith("line ")


def test_nothing_is_changed_by_looking() -> None:
    watched, alone = Loop(), Loop()
    watched.run(SOUND["two terms"])
    torch.manual_seed(0)
    torch.randn(8, 4)
    for _ in range(4):
        x = torch.randn(16, 8)
        alone.optimizer.zero_grad()
        sum(SOUND["two terms"](alone, x).values()).backward()
        alone.optimizer.step()
    torch.testing.assert_close(watched.weight, alone.weight)


def by_hand(loop, batch):
    loss = error(loop, batch)
    loss.backward()
    loop.weight.data.sub_(0.01 * loop.weight.grad)


def by_grad(loop, batch):
    (grad,) = torch.autograd.grad(error(loop, batch), [loop.weight])
    loop.weight.data.sub_(0.01 * grad)


@pytest.mark.parametrize("second", [by_hand, by_grad])
def test_a_second_update_on_a_batch_is_found(second) -> None:
    found = Loop().run(SOUND["one term"], second)
    assert any("updated 8 times on 4 batches" in line for line in found)


def test_what_is_added_and_taken_away_again_is_no_second_update() -> None:
    def uphill(loop, batch):
        (grad,) = torch.autograd.grad(error(loop, batch), [loop.weight])
        moved = 0.1 * grad / grad.norm()
        loop.weight.data.add_(moved)
        loop.weight.data.sub_(moved)
        error(loop, batch).backward()

    assert Loop().run(SOUND["one term"], uphill) == []


def test_normalising_after_the_step_is_no_second_update() -> None:
    assert Loop().run(SOUND["one term"], lambda loop, _: loop.weight.data.div_(loop.weight.data.norm())) == []


def test_two_backward_passes_before_one_step_are_fine() -> None:
    def terms(loop, x):
        loop.optimizer.zero_grad()
        (0.1 * loop.weight.abs().mean()).backward()
        return {"error": error(loop, x)}

    assert Loop().run(terms) == []


@pytest.mark.parametrize("stepped", [False, True])
def test_a_scheduler_has_to_step(stepped: bool) -> None:
    loop = Loop()
    loop.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(loop.optimizer, T_max=4)
    found = loop.run(SOUND["one term"], lambda loop, _: loop.scheduler.step() if stepped else None)
    assert any("CosineAnnealingLR was made and never stepped" in line for line in found) is not stepped
