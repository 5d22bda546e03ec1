"""This machine as the place where jobs are run, its GPUs handed out to one job each."""

import os
from collections.abc import Callable
from typing import Any

from agent.compute.executor import JobHost
from agent.compute.gpus import Gpus
from agent.compute.job import Job, carry_out
from agent.compute.local import ProcessResult


class Local:
    """This machine.

    Args:
        gpus: Its GPUs; looked for when None.
    """

    def __init__(self, gpus: Gpus | None = None) -> None:
        self._gpus = gpus or Gpus.of_this_machine()

    def check(self) -> None:
        """See `Executor.check`; a job that wants more GPUs than there are says so itself."""

    def run(self, job: Job, host: JobHost, tick: Callable[[], None]) -> ProcessResult:
        """See `Executor.run`; waits for GPUs first, where the job wants some and this machine has any."""
        with self._gpus.lease(job.gpus, tick) as visible:
            job.clear()
            return carry_out(job.on(visible), tick)

    def forget(self, host: JobHost) -> None:
        """See `Executor.forget`; nothing goes on here without its launcher."""

    def places(self, gpus: int) -> int:
        """See `Executor.places`: as many as there are GPUs for; one without GPUs."""
        return max(1, len(self._gpus.names) // gpus)

    def threads(self) -> list[Any]:
        """See `Executor.threads`."""
        return [os.environ.get("OMP_NUM_THREADS"), os.cpu_count()]
