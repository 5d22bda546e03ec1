"""Where a campaign's orders are carried out: on this machine, its GPUs handed out one by one, or on a cluster."""

import functools
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from agent.compute.gpus import Gpus
from agent.compute.job import Order, carry_out
from agent.compute.local import Result

if TYPE_CHECKING:
    from agent.campaign.campaign import Campaign
    from agent.campaign.settings import Settings


class Executor(Protocol):
    """Carries out orders; one serves all campaigns of a launcher."""

    def run(self, campaign: "Campaign", order: Order, tick: Callable[[], None]) -> Result:
        """Carry out an order, and wait for its end.

        Args:
            campaign: Whose order it is; its ledger may say that it is under way already.
            order: What is to be run.
            tick: Called again and again in the meantime; raises when the user wants to stop.

        Returns:
            How it ended.

        Raises:
            AgentError: It could not be carried out, for a reason that is not the order's.
        """
        ...

    def forget(self, campaign: "Campaign") -> None:
        """End what is still under way for a campaign, since nobody will ask for its outcome."""
        ...


class Local:
    """This machine.

    Args:
        gpus: Its GPUs.
    """

    def __init__(self, gpus: Gpus) -> None:
        self._gpus = gpus

    def run(self, campaign: "Campaign", order: Order, tick: Callable[[], None]) -> Result:
        """See `Executor.run`; waits for GPUs first, where the order wants some and this machine has any."""
        with self._gpus.lease(order.gpus, tick) as visible:
            order.clear()
            return carry_out(order.on(visible), tick)

    def forget(self, campaign: "Campaign") -> None:
        """Nothing goes on here without its launcher."""


def executor_of(settings: "Settings") -> Executor:
    """Where a campaign with these settings runs things.

    Raises:
        AgentError: It is a cluster, and this machine has no way to it.
    """
    if settings.executor == "local":
        return this_machine()
    from agent.compute.slurm.executor import cluster
    from agent.compute.slurm.settings import SlurmSettings

    return cluster((settings.slurm or SlurmSettings()).poll_seconds)


def places(all_settings: Sequence["Settings"]) -> int:
    """How many campaigns go on at a time where the user does not say: one for each run's GPUs, one without GPUs.

    Args:
        all_settings: The settings of each; those whose runs are on a cluster only wait here.
    """
    if all(settings.executor == "slurm" for settings in all_settings):
        return len(all_settings)
    gpus = len(Gpus.of_this_machine().names)
    wanted = max(settings.gpus for settings in all_settings)
    return max(1, min(len(all_settings), gpus // wanted))


def share_cores(jobs: int) -> None:
    """Give each run its part of the cores, unless the user has said how many threads one has: more only wait.

    Args:
        jobs: How many runs go on at a time.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // jobs)))


@functools.cache
def this_machine() -> Local:
    """The one executor of this process for this machine."""
    return Local(Gpus.of_this_machine())
