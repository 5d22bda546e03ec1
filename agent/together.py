"""Several campaigns side by side in one process, each in a thread: they mostly wait, for a run or for a model."""

import threading
import time
from collections.abc import Callable, Sequence

from agent.campaign import Campaign
from agent.interrupt import Interrupt

# So long may a campaign take to stop, in the middle of an answer of its model say, before it is left where it is.
GRACE = 15.0
POLL = 0.2


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
        KeyboardInterrupt: The user stopped them, and each said so.
    """
    codes = [0] * len(campaigns)
    room = threading.Semaphore(jobs)

    def go_on(place: int) -> None:
        while not room.acquire(timeout=POLL):
            if interrupt.wanted:
                return
        try:
            codes[place] = run(campaigns[place])
        finally:
            room.release()

    threads = [threading.Thread(target=go_on, args=(place,), daemon=True) for place in range(len(campaigns))]
    for thread in threads:
        thread.start()
    try:
        _wait(threads, float("inf"))
    except KeyboardInterrupt:
        _wait(threads, GRACE)
        # One that is still busy ends with this process: its state is never half written.
        raise
    return codes


def _wait(threads: Sequence[threading.Thread], seconds: float) -> None:
    until = time.monotonic() + seconds
    for thread in threads:
        while thread.is_alive() and time.monotonic() < until:
            thread.join(POLL)
