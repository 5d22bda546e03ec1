"""The settings of the Slurm executor: what a cluster is asked for, as the user says it and as it follows from a job."""

import math
import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field

from agent.compute.settings import ExecutorSettings

if TYPE_CHECKING:
    from agent.compute.job import Job

# A job's own limits end it with a clear word, so the cluster's lie beyond them.
TIME_MARGIN, MORE_SECONDS = 1.1, 300
MEMORY_MARGIN, MORE_MEMORY = 1.25, 2e9
# Options of sbatch that the executor gives itself, or that would have a job run more than once or elsewhere.
_OURS = frozenset(
    (
        *("array", "chdir", "cpus-per-task", "error", "export", "export-file", "gpus-per-node", "job-name", "mem"),
        *("no-requeue", "nodes", "ntasks", "open-mode", "output", "parsable", "partition", "account", "qos", "requeue"),
        *("signal", "test-only", "time", "wait", "wrap"),
    )
)
_TIME = re.compile(r"(\d+-)?\d+(:\d\d?){0,2}")


def _word(text: str) -> str:
    if not re.fullmatch(r"\S+", text):
        raise ValueError("give one word")
    return text


def _time(value: Any) -> Any:
    if isinstance(value, bool) or not _TIME.fullmatch(str(value)) or value == 0:
        raise ValueError("give minutes, or as sbatch takes it: HH:MM:SS or D-HH:MM:SS")
    return value


def _options(options: dict[str, Any]) -> dict[str, Any]:
    for name, value in options.items():
        if name.replace("_", "-") in _OURS:
            raise ValueError(f"{name} is set by the program, or by a setting of its own")
        if not re.fullmatch(r"[a-z][a-z0-9_-]+", name):
            raise ValueError(f"{name} is not the long name of an option of sbatch")
        if "\n" in str(value) or "\r" in str(value):
            raise ValueError(f"{name} has more than one line")
    return options


Word = Annotated[str, AfterValidator(_word)]


class SlurmSettings(ExecutorSettings):
    """The user's wishes of a Slurm cluster.

    Args:
        partition: Where to; the cluster's default when None. So are the next two.
        account: Who pays.
        qos: The quality of service.
        time: The time limit of a job, minutes or as sbatch takes it; what a run may take, and a margin, when None.
        gpus: GPUs of a job; what the campaign gives a run when None.
        cpus: Processors of a job.
        memory_gb: Memory of a job, 10^9 bytes; what a run may hold, and a margin, when None.
        again: How often a job that the cluster ended is queued again.
        poll_seconds: How often the cluster is asked for the states of all jobs.
        grace_seconds: How long a result may take to be seen on a shared file system.
        extra: Any other options of sbatch, such as `constraint`; true for one without a value.
    """

    hint: ClassVar[str] = "options of sbatch go under [extra]"

    partition: Word | None = None
    account: Word | None = None
    qos: Word | None = None
    time: Annotated[int | str, BeforeValidator(_time)] | None = None
    gpus: Annotated[int, Field(ge=0)] | None = None
    cpus: Annotated[int, Field(ge=1)] = 4
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    again: Annotated[int, Field(ge=0)] = 2
    poll_seconds: Annotated[float, Field(ge=0.1, le=600)] = 10
    grace_seconds: Annotated[float, Field(ge=0, le=3600)] = 60
    extra: Annotated[dict[str, bool | int | float | str], AfterValidator(_options)] = Field(default_factory=dict)

    def gpus_of(self, job: "Job") -> int:
        """The GPUs that a job gets."""
        return job.gpus if self.gpus is None or not job.gpus else self.gpus

    def memory_of(self, job: "Job") -> int:
        """The memory that a job gets, bytes: whole MiB, as Slurm counts them."""
        if self.memory_gb is not None:
            wanted = self.memory_gb * 1e9
        else:
            wanted = (job.limits.memory or job.memory) * MEMORY_MARGIN + MORE_MEMORY
        return math.ceil(wanted / 2**20) * 2**20

    def minutes_of(self, job: "Job") -> int | str | None:
        """The time that a job may take, as sbatch takes it; None for as long as the partition lets it."""
        if self.time is not None or job.limits.seconds is None:
            return self.time
        return math.ceil((job.limits.seconds * TIME_MARGIN + MORE_SECONDS) / 60)
