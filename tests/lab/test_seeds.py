"""What follows from a seed: generators that show nothing of it, and an order of the data that anybody can check."""

import numpy as np
import pytest

from lab.seeds import batches, derived, digest, order


def test_small_seeds_look_like_any_others():
    found = {derived(seed, what) for seed in (0, 1, 2, 712345678) for what in ("torch", "numpy", "order of epoch 0")}
    assert len(found) == 12
    assert all(2**50 < number < 2**63 for number in found)


def test_an_epoch_is_every_row_once_and_no_two_are_alike():
    first, second, other = order(3, 0, 500), order(3, 1, 500), order(4, 0, 500)
    for rows in (first, second, other):
        assert np.array_equal(np.sort(rows), np.arange(500))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_batches_go_on_over_the_end_of_an_epoch_and_steps_can_be_had_alone():
    whole = list(batches(3, 100, 32, range(7)))
    assert np.array_equal(np.concatenate(whole)[:100], order(3, 0, 100))
    assert np.array_equal(np.concatenate(whole)[100:200], order(3, 1, 100))
    alone = list(batches(3, 100, 32, [2, 5]))
    assert np.array_equal(alone, [whole[2], whole[5]])


@pytest.mark.parametrize("other", [(4, 100, 32, 7), (3, 101, 32, 7), (3, 100, 31, 7), (3, 100, 32, 6), (3, 100, 32, 0)])
def test_the_digest_tells_other_batches(other):
    assert digest(3, 100, 32, 7) == digest(3, 100, 32, 7) != digest(*other)
