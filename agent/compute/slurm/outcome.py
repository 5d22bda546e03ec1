"""The end of a submission: what it means for its job, and how it is said."""

import re
from dataclasses import dataclass
from typing import Literal

from agent.base.errors import AgentError
from agent.compute.job import Job
from agent.compute.local import ProcessResult
from agent.compute.slurm.queue import ENDED_BY_CLUSTER, Unanswered, last_line
from agent.compute.slurm.settings import SlurmSettings
from agent.compute.slurm.submission import Submission

Disposition = Literal["result", "again", "memory", "cancelled", "error"]
LOST = "LOST"
# Of what slurmstepd says; some versions call such a job FAILED.
_NO_MEMORY = re.compile(r"exceeded (job |step )?memory limit|oom[-_ ]kill", re.I)
_GPU = re.compile(r"gres|gpu|node configuration", re.I)

_WHY = {
    "PREEMPTED": "was pre-empted",
    "TIMEOUT": "reached its time limit on the cluster",
    "DEADLINE": "reached its deadline",
    "NODE_FAIL": "lost its node",
    "BOOT_FAIL": "lost its node",
    "CANCELLED": "was cancelled",
    LOST: "vanished without a result",
}
_ADVICE = {
    "PREEMPTED": "give another partition or qos, or a larger `again`, with --slurm",
    "TIMEOUT": "give a longer `time` with --slurm, or a run a shorter --time-limit",
    "NODE_FAIL": "exclude the node under [extra] with --slurm",
    "BOOT_FAIL": "exclude the node under [extra] with --slurm",
    LOST: "see whether the nodes share this folder, or give longer `grace_seconds` with --slurm",
}


@dataclass(frozen=True)
class End:
    """The end of a submission.

    Args:
        state: In Slurm's words, or LOST.
        seconds: How long it ran.
        told: What it left: a result, an error, a traceback, or nothing.
    """

    state: str
    seconds: int
    told: ProcessResult | AgentError | str | None


def classify(end: End, printed: str) -> Disposition:
    """Tell what an end means.

    Args:
        end: The end.
        printed: What the cluster's job printed.

    Returns:
        `result` for a job that was carried out, well or not; `again` where the cluster ended it for its own reasons.
    """
    told = end.told
    if isinstance(told, ProcessResult) and (told.ok or told.ended not in ("itself", "launcher")):
        return "result"
    if end.state in ENDED_BY_CLUSTER:
        return "again"
    if end.state == "CANCELLED":
        return "cancelled"
    if end.state == "OUT_OF_MEMORY" or _NO_MEMORY.search(printed):
        return "memory"
    if isinstance(told, ProcessResult):
        return "again" if told.ended == "launcher" else "result"
    return "again" if told is None and end.state == LOST else "error"


def why(end: End) -> str:
    """The end in words."""
    return _WHY.get(end.state, f"ended as {end.state}")


def too_often(submission: Submission, job: Job, settings: SlurmSettings, end: End, count: int) -> str:
    """The message, with advice, for a job that is submitted no more.

    Args:
        submission: The last one.
        job: The job.
        settings: What the cluster was asked for.
        end: How it ended.
        count: How many there were.
    """
    limit = settings.minutes_of(job)
    figure = f" ({limit}{' min' if isinstance(limit, int) else ''})" if end.state == "TIMEOUT" else ""
    advice = _ADVICE.get(end.state, "ask who runs the cluster")
    jobs = f"the last of {count} jobs" if count > 1 else "and is not queued again"
    return f"job {submission.number} ({job.label}) {why(end)}{figure}, {jobs}: {advice}"


def failure(submission: Submission, job: Job, end: End, meaning: Disposition, printed: str) -> AgentError:
    """The error for a submission without a result and not to be repeated: the job's own, where it left one."""
    if meaning == "cancelled":
        return AgentError(
            f"job {submission.number} ({job.label}) was cancelled; it is submitted again once the campaign goes on"
        )
    if isinstance(end.told, AgentError):
        return end.told
    said = last_line(end.told if isinstance(end.told, str) else printed) or "it printed nothing"
    return AgentError(
        f"job {submission.number} ({job.label}) failed on the cluster: {said}; its output is in {submission.log}"
    )


def refused(job: Job, error: Unanswered) -> str:
    """The message, with advice, for a job that sbatch does not take."""
    hint = " (for a cluster without GPUs: gpus = 0)" if job.gpus and _GPU.search(str(error)) else ""
    return f"Slurm does not take the job ({job.label}): {error}{hint}; give other settings with --slurm"
