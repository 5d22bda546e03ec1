"""One job on a cluster: how submitit is told to submit an order, what is done on the node, and how it is read."""

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
from agent.compute.job import Order, carry_out
from agent.compute.local import Result
from agent.compute.slurm.queue import Unanswered, slurm
from agent.compute.slurm.settings import SlurmSettings

# Beside the variables that any child process may have: where Slurm's commands find their cluster.
_FOR_SLURM = ("SLURM_CONF", "KRB5CCNAME")
# A node has its own.
_OF_THIS_MACHINE = frozenset((VISIBLE, "NVIDIA_VISIBLE_DEVICES", "TMPDIR", "XDG_RUNTIME_DIR"))


@dataclass(frozen=True)
class Job:
    """A job that was submitted.

    Args:
        number: Its id on the cluster.
        folder: Where submitit keeps what belongs to it.
        since: When it was known to be submitted, on the monotonic clock.
        found: Whether an earlier launcher submitted it.
    """

    number: str
    folder: Path
    since: float
    found: bool = False

    @property
    def log(self) -> Path:
        """What the job itself, not the order's command, printed."""
        return self._paths.stdout

    def told(self) -> Result | AgentError | str | None:
        """What came of it: a result, the order's error, the traceback of another, or nothing so far."""
        try:
            outcome, value = pickle.loads(self._paths.result_pickle.read_bytes())
        except (OSError, EOFError, pickle.UnpicklingError):  # not there, or not whole yet on this machine
            return None
        except (AttributeError, ImportError) as error:
            return f"it was left by another version of this program: {error}"
        return value if outcome == "success" else str(value)

    def printed(self) -> str:
        """The end of its log; "" where there is none."""
        try:
            return self.log.read_text(encoding="utf-8", errors="replace")[-20_000:]
        except OSError:
            return ""

    @property
    def _paths(self) -> JobPaths:
        return JobPaths(self.folder, job_id=self.number)


def submit(order: Order, settings: SlurmSettings, name: str, folder: Path, usual_memory: float) -> Job:
    """Submit an order.

    Args:
        order: What is to be run on a node.
        settings: What the cluster is asked for.
        name: The job's name.
        folder: Where submitit keeps what belongs to it, and to no other: numbers come again on a new cluster.
        usual_memory: What a run may hold, bytes; for orders without a limit of their own.

    Returns:
        The job, queued.

    Raises:
        Unanswered: It was not taken.
    """
    executor = _Sbatch(folder)
    executor.update_parameters(**parameters(order, settings, name, usual_memory))
    # The sandbox opens the devices of as many GPUs as the job has, not as the campaign would have locally.
    job = executor.submit(on_node, replace(order, gpus=settings.gpus_of(order)))
    return Job(job.job_id, folder, time.monotonic())


def parameters(order: Order, settings: SlurmSettings, name: str, usual_memory: float) -> dict[str, Any]:
    """What submitit is told of a job; see `submit`."""
    gpus = settings.gpus_of(order)
    asked_otherwise = any(option.startswith(("gpu", "gres")) for option in settings.extra)
    return {
        "job_name": name,
        "partition": settings.partition,
        "account": settings.account,
        "qos": settings.qos,
        "time": settings.minutes_of(order),
        "cpus_per_task": settings.cpus,
        "mem": f"{settings.memory_of(order, usual_memory) // 2**20}M",
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


def asked(order: Order, settings: SlurmSettings, usual_memory: float) -> str:
    """A hash of all that the cluster is asked for an order; see `submit`."""
    told = json.dumps(parameters(order, settings, "", usual_memory), sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


class _Sbatch(SlurmExecutor):
    """submitit's executor, its sbatch called with the environment that a job may have."""

    def _submit_command(self, command: str) -> SlurmJob[Any]:
        script = self._make_submission_file_text(command, "")
        said = slurm("sbatch", "--parsable", text=script, env=_environment()).split()
        number = said[-1].split(";")[0] if said else ""
        if not number.isdigit():
            raise Unanswered(f"sbatch said {' '.join(said)!r}, and no job's number")
        job: SlurmJob[Any] = SlurmJob(folder=self.folder, job_id=number)
        job.paths.submission_file.write_text(script, encoding="utf-8")
        return job


def _environment() -> dict[str, str]:
    """An allow-list, and no keys. sbatch's own variables are not on it: what a job asks for stands in the settings."""
    given = {name: os.environ[name] for name in _FOR_SLURM if name in os.environ}
    return {name: value for name, value in child_environment(given).items() if name not in _OF_THIS_MACHINE}


def on_node(order: Order) -> Result | AgentError:
    """Carry out an order as a job's only task.

    Args:
        order: What is to be run.

    Returns:
        How it ended, or the order's error.
    """
    # submitit passes these over, or queues the job again; here an end of the job is an end of what it contains.
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGUSR2, _pass_over)
    try:
        order.clear()
        result = carry_out(_at_home(order, os.environ))
    except AgentError as error:
        return error
    if result.code < 0:
        # The scheduler signals every process of a job: this one's turn may come a moment after that of its children.
        time.sleep(1)
    return result


def _at_home(order: Order, given: Mapping[str, str]) -> Order:
    """The order with what a job was given on its node: its GPUs, and as many threads as processors."""
    threads = {"OMP_NUM_THREADS": given["SLURM_CPUS_PER_TASK"]} if "SLURM_CPUS_PER_TASK" in given else {}
    kept = {name: value for name, value in order.env.items() if name not in _OF_THIS_MACHINE}
    return replace(order, env={**threads, **kept}).on(given.get(VISIBLE) if order.gpus else "")


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _pass_over(number: int, frame: FrameType | None) -> None: ...
