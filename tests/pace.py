"""Processor time in seconds of an idle core: what a test may say of speed on a machine that does other things too."""

import resource
from collections.abc import Callable

# Of the reference, on one core of a 2.5 GHz server that has nothing else to do.
_REFERENCE_SECONDS = 0.0165
_ROUNDS = 3


def idle_seconds(work: Callable[[], object]) -> float:
    """The processor time of a call, its processes' included, in seconds of an idle core.

    Both the call and a reference that is run right before and after it become slower where others use the caches, the
    memory and the other half of a core; how many references the call takes does not change much.

    Returns:
        The least of a few rounds.
    """
    found = []
    for _ in range(_ROUNDS):
        before, cost, after = _spent(_reference), _spent(work), _spent(_reference)
        found.append(cost / max(before, after) * _REFERENCE_SECONDS)
    return min(found)


def _spent(work: Callable[[], object]) -> float:
    before = _processor_seconds()
    work()
    return _processor_seconds() - before


def _processor_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _reference() -> None:
    found = {}
    for number in range(20_000):
        word = f"{number:x} {number * number}"
        found[word] = len(word.split())
