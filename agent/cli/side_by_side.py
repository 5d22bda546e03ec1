"""Several campaigns side by side in one process, each in a thread: they mostly wait, for a run or for a model."""

import importlib
import os
import threading
import time
from collections.abc import Callable, Sequence

from agent.base.interrupt import INTERRUPTED, Interrupt
from agent.campaign.campaign import Campaign
from agent.compute.executor import Executor

# So long may a campaign take to stop, in the middle of an answer of its model say, before it is left where it is.
GRACE = 15.0
POLL = 0.2
# The code of a campaign that a fault of this program ended; Python has told of it.
UNEXPECTED = 1


def places(campaigns: Sequence[tuple[Executor, int]]) -> int | None:
    """The number of campaigns that go on at a time where the user does not say; None for all of them.

    Args:
        campaigns: Of each its executor, and how many GPUs it gives a run.
    """
    limits = [limit for executor, gpus in campaigns if (limit := executor.places(gpus)) is not None]
    return min(limits, default=None)


def share_cores(jobs: int) -> None:
    """Give each run its part of the cores, unless the user has said how many threads one has: more only wait.

    Args:
        jobs: How many runs go on at a time.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // jobs)))


def run_together(
    campaigns: Sequence[Campaign], jobs: int, run: Callable[[Campaign], int], interrupt: Interrupt
) -> list[int]:
    """Go on with several campaigns.

    Args:
        campaigns: The campaigns; they begin in this order.
        jobs: How many go on at a time.
        run: Goes on with one until it is done or stopped, and returns its exit code.
        interrupt: The user's wish to stop, which reaches every campaign.

    Returns:
        The exit code of each.

    Raises:
        KeyboardInterrupt: The user stopped them; each has said so, but for those that were too busy to.
    """
    _import_all(campaigns)
    codes = [UNEXPECTED] * len(campaigns)
    room = threading.Semaphore(jobs)
    # Not `Thread.join`: when a signal's exception comes out of it, the thread is taken for ended (Python 3.11).
    ended = [threading.Event() for _ in campaigns]

    def go_on(place: int) -> None:
        try:
            while not room.acquire(timeout=POLL):
                interrupt.check()
            try:
                codes[place] = run(campaigns[place])
            finally:
                room.release()
        except KeyboardInterrupt:
            codes[place] = INTERRUPTED
        finally:
            ended[place].set()

    for place in range(len(campaigns)):
        threading.Thread(target=go_on, args=(place,), daemon=True).start()
    try:
        _wait(ended, float("inf"))
    except KeyboardInterrupt:
        # One that is still busy after this ends with the process: its state is never half written.
        _wait(ended, GRACE)
        raise
    return codes


def _wait(ended: Sequence[threading.Event], seconds: float) -> None:
    until = time.monotonic() + seconds
    for each in ended:
        while not each.is_set() and time.monotonic() < until:
            each.wait(POLL)


def _import_all(campaigns: Sequence[Campaign]) -> None:
    """Import what is else imported when it is needed: some libraries do not stand that in two threads at a time."""
    from agent.models import TABLE, load

    providers = {campaign.settings.model.partition(":")[0] for campaign in campaigns}
    clients = [load(name).library for name in TABLE if name in providers]
    for module in ("agent.loop", "pygments.formatters", "pygments.lexers.python", *clients):
        importlib.import_module(module)
