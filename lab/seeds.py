"""Numbers that follow from a run's seed: for its generators, and for the order of its data.

Each is a hash of the seed and of what it is for. So a run's generators show nothing of the number that it was given,
and a seed that is small looks like one that was drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

Rows = np.ndarray[tuple[int], np.dtype[np.int64]]


def derived(seed: int, what: str) -> int:
    """A number of 63 bits.

    Args:
        seed: the run's.
        what: the use of it.
    """
    return int.from_bytes(hashlib.sha256(f"{seed} {what}".encode()).digest()[:8], "big") >> 1


def order(seed: int, epoch: int, count: int) -> Rows:
    """The rows 0 to `count` - 1 in the order of an epoch."""
    generator = np.random.Generator(np.random.PCG64(derived(seed, f"order of epoch {epoch}")))
    return generator.permutation(count)


def batches(seed: int, count: int, batch_size: int, steps: Sequence[int], period: int = 0) -> Iterator[Rows]:
    """The rows of each step, [batch_size]; a batch may reach over the end of an epoch.

    Args:
        seed: the run's.
        count: rows that there are.
        batch_size: rows of a batch.
        steps: the steps that are wanted, rising, at least one.
        period: after so many steps the same rows come again; 0 for never.
    """
    while period and len(steps) > period:
        yield from batches(seed, count, batch_size, steps[:period])
        steps = range(len(steps) - period)
    epoch, rest, wanted = 0, order(seed, 0, count), set(steps)
    for step in range(steps[-1] + 1):
        while len(rest) < batch_size:
            epoch += 1
            rest = np.concatenate((rest, order(seed, epoch, count)))
        if step in wanted:
            yield rest[:batch_size]
        rest = rest[batch_size:]


class Digest:
    """A hash of the rows that were handed out."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=8)

    def add(self, rows: Rows) -> None:
        """Rows of one more batch."""
        self._hash.update(np.ascontiguousarray(rows).data)

    def __str__(self) -> str:
        return self._hash.hexdigest()


def digest(seed: int, count: int, batch_size: int, steps: int) -> str:
    """The hash of the batches that a run with a seed is handed in its first `steps` steps."""
    found = Digest()
    for rows in batches(seed, count, batch_size, range(steps)) if steps else ():
        found.add(rows)
    return str(found)
