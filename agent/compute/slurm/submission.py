"""One submission of a job to the cluster: what submitit is told, what is done on the node, and what is left there."""

import hashlib
import json
import os
import pickle
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from submitit.core.utils import JobPaths
from submitit.slurm.slurm import SlurmExecutor, SlurmJob

from agent.base.errors import AgentError
from agent.base.keys import child_environment
from agent.base.places import CODE
from agent.compute.gpus import VISIBLE
from agent.compute.job import Job, carry_out
from agent.compute.local import ProcessResult
from agent.compute.slurm.queue import Unanswered, slurm
from agent.compute.slurm.settings import SlurmSettings

# Beside the variables that any child process may have: where Slurm's commands find their cluster.
_FOR_SLURM = ("SLURM_CONF", "KRB5CCNAME")
# A node has its own.
_OF_THIS_MACHINE = frozenset((VISIBLE, "NVIDIA_VISIBLE_DEVICES", "TMPDIR", "XDG_RUNTIME_DIR"))


@dataclass(frozen=True)
class Submission:
    """A job on the cluster.

    Args:
        number: Its id there.
        folder: Where submitit keeps what belongs to it.
        since: When it was known to be submitted, on the monotonic clock.
        found: True where an earlier launcher submitted it.
    """

    number: str
    folder: Path
    since: float
    found: bool = False

    @property
    def log(self) -> Path:
        """The output of the cluster's own job, not of the command that it carries out."""
        return self._paths.stdout

    def told(self) -> ProcessResult | AgentError | str | None:
        """The outcome that it left: a result, the job's error, the traceback of another, or nothing so far."""
        try:
            outcome, value = pickle.loads(self._paths.result_pickle.read_bytes())
        except (OSError, EOFError, pickle.UnpicklingError):  # not there, or not whole yet on this machine
            return None
        except (AttributeError, ImportError) as error:
            return f"it was left by another version of this program: {error}"
        return value if outcome == "success" else str(value)

    def printed(self) -> str:
        """Return the end of its log; "" where there is none."""
        try:
            return self.log.read_text(encoding="utf-8", errors="replace")[-20_000:]
        except OSError:
            return ""

    @property
    def _paths(self) -> JobPaths:
        return JobPaths(self.folder, job_id=self.number)


def submit(job: Job, settings: SlurmSettings, name: str, folder: Path) -> Submission:
    """Submit a job.

    Args:
        job: What is to be run on a node.
        settings: What the cluster is asked for.
        name: Its name on the cluster.
        folder: Where submitit keeps what belongs to it, and to no other: numbers come again on a new cluster.

    Returns:
        The submission, queued.

    Raises:
        Unanswered: It was not taken.
    """
    executor = _Sbatch(folder)
    executor.update_parameters(**parameters(job, settings, name))
    # The sandbox opens the devices of as many GPUs as the job has, not as the campaign would have locally.
    taken = executor.submit(on_node, replace(job, gpus=settings.gpus_of(job)))
    return Submission(taken.job_id, folder, time.monotonic())


def parameters(job: Job, settings: SlurmSettings, name: str) -> dict[str, Any]:
    """All that submitit is told of a job; see `submit`."""
    gpus = settings.gpus_of(job)
    asked_otherwise = any(option.startswith(("gpu", "gres")) for option in settings.extra)
    return {
        "job_name": name,
        "partition": settings.partition,
        "account": settings.account,
        "qos": settings.qos,
        "time": settings.minutes_of(job),
        "cpus_per_task": settings.cpus,
        "mem": f"{settings.memory_of(job) // 2**20}M",
        "gpus_per_node": gpus if gpus and not asked_otherwise else None,
        "stderr_to_stdout": True,
        "use_srun": False,
        "wckey": None,
        "additional_parameters": {
            # Of the environment that sbatch is given, which is a small one; else the node would add the user's own.
            "export": "ALL",
            # Queued again only by the launcher, which counts, empties the folders first and says so.
            "no-requeue": True,
            "chdir": str(CODE),
            **{option: value for option, value in settings.extra.items() if value is not False},
        },
    }


def asked(job: Job, settings: SlurmSettings) -> str:
    """A hash of all that the cluster is asked for a job; see `submit`."""
    told = json.dumps(parameters(job, settings, ""), sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


class _Sbatch(SlurmExecutor):
    """submitit's executor, its sbatch called with the environment that a job may have."""

    def _submit_command(self, command: str) -> SlurmJob[Any]:
        script = self._make_submission_file_text(command, "")
        said = slurm("sbatch", "--parsable", text=script, env=_environment()).split()
        number = said[-1].split(";")[0] if said else ""
        if not number.isdigit():
            raise Unanswered(f"sbatch said {' '.join(said)!r}, and no job's number")
        taken: SlurmJob[Any] = SlurmJob(folder=self.folder, job_id=number)
        taken.paths.submission_file.write_text(script, encoding="utf-8")
        return taken


def _environment() -> dict[str, str]:
    """An allow-list, and no keys. sbatch's own variables are not on it: what a job asks for stands in the settings."""
    given = {name: os.environ[name] for name in _FOR_SLURM if name in os.environ}
    return {name: value for name, value in child_environment(given).items() if name not in _OF_THIS_MACHINE}


def on_node(job: Job) -> ProcessResult | AgentError:
    """Carry out a job on the node that it was given.

    Args:
        job: What is to be run.

    Returns:
        How it ended, or the job's error.
    """
    # submitit passes these over, or queues the job again; here its end is an end of what it contains.
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGUSR2, _pass_over)
    try:
        job.clear()
        result = carry_out(_at_home(job, os.environ))
    except AgentError as error:
        return error
    if result.code < 0:
        # The scheduler signals every process of a job: this one's turn may come a moment after that of its children.
        time.sleep(1)
    return result


def _at_home(job: Job, given: Mapping[str, str]) -> Job:
    """The job with what it was given on its node: its GPUs, and as many threads as processors."""
    threads = {"OMP_NUM_THREADS": given["SLURM_CPUS_PER_TASK"]} if "SLURM_CPUS_PER_TASK" in given else {}
    kept = {name: value for name, value in job.env.items() if name not in _OF_THIS_MACHINE}
    return replace(job, env={**threads, **kept}).on(given.get(VISIBLE) if job.gpus else "")


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _pass_over(number: int, frame: FrameType | None) -> None: ...
