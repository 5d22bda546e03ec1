"""Sends jobs to a Slurm cluster and waits for them; a launcher that died finds them again by their numbers there.

The host writes down each job that is submitted (`Receipt`), and the job leaves its result in the folder `jobs` of the
host. Only the launcher submits a job again, once Slurm says that the submission before has ended; `docs/scale.md` tells
in which cases two may run at a time all the same.
"""

import functools
import hashlib
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.base.errors import AgentError
from agent.base.files import write_atomically
from agent.compute.executor import JobHost, Receipt
from agent.compute.job import Job
from agent.compute.local import ProcessResult
from agent.compute.slurm.outcome import LOST, End, classify, failure, refused, too_often, why
from agent.compute.slurm.queue import ENDED_BY_CLUSTER, Queue, Unanswered, cancel
from agent.compute.slurm.settings import SlurmSettings
from agent.compute.slurm.submission import Submission, asked, submit

Tick = Callable[[], None]
PAUSE = 0.5
_TRIES = 4
_making = threading.Lock()
# Of what sbatch says when it is not the job that is wrong.
_PASSING = re.compile(
    r"contact|timed? ?out|temporar|connect|communicat|not responding|unable to accept|did not end|zero bytes", re.I
)
_SLOW = frozenset(("", "Priority", "Resources", "None"))


class Cluster:
    """The cluster that Slurm's commands on this machine lead to, as one launcher knows it.

    Args:
        poll_seconds: How often it is asked for the states of all jobs.

    Raises:
        AgentError: There are no such commands.
    """

    def __init__(self, poll_seconds: float) -> None:
        if absent := [name for name in ("sbatch", "srun", "squeue", "scancel") if shutil.which(name) is None]:
            raise AgentError(
                f"{absent[0]} is not on the PATH: --executor slurm works where jobs are submitted, on a login node"
            )
        self.queue = Queue(poll_seconds)
        self.looked: set[Path] = set()
        self.submitted: set[str] = set()
        self.submitting = threading.Lock()
        self._makers: dict[str, threading.Lock] = {}

    @contextmanager
    def turn(self, makes: str, tick: Tick) -> Iterator[None]:
        """Let one job at a time make a thing."""
        lock = self._makers.setdefault(makes, threading.Lock())
        while not lock.acquire(timeout=PAUSE):
            tick()
        try:
            yield
        finally:
            lock.release()


class Slurm:
    """The executor; see `agent.compute.executor.Executor` for its methods.

    Args:
        settings: What the cluster is asked for.
        cluster: The cluster; the one that this process shares when None, which is looked for at the first question.
    """

    def __init__(self, settings: SlurmSettings, cluster: Cluster | None = None) -> None:
        self.settings = settings
        self._own = cluster

    @property
    def cluster(self) -> Cluster:
        """The cluster.

        Raises:
            AgentError: It does not answer, or this machine has no way to it.
        """
        return self._own or shared_cluster(self.settings.poll_seconds)

    def check(self) -> None:
        """See `Executor.check`."""
        with _answering():
            self.cluster.queue.rows(0)

    def places(self, gpus: int) -> None:
        """See `Executor.places`; the cluster's own queue takes any number."""

    def threads(self) -> list[Any]:
        """See `Executor.threads`: not the login node's processors count, but those of a job."""
        return ["slurm", os.environ.get("OMP_NUM_THREADS"), self.settings.cpus]

    def run(self, job: Job, host: JobHost, tick: Tick) -> ProcessResult:
        """See `Executor.run`."""
        if not job.makes:
            return self._run(job, host, tick)
        with self.cluster.turn(job.makes, tick):
            return self._run(job, host, tick)

    def _run(self, job: Job, host: JobHost, tick: Tick) -> ProcessResult:
        submission = self._known(job, host, tick)
        count = 0
        while True:
            submission = submission or self._submit(job, host, tick)
            try:
                end = self._wait(submission, job, host, tick)
            except BaseException:
                host.say(f"job {submission.number} ({job.label}) goes on; a resumed campaign finds it again")
                raise
            printed = submission.printed()
            meaning = classify(end, printed)
            if meaning == "memory":
                return _out_of_memory(job, self.settings, end)
            swept = submission.found and _swept(job)
            if meaning == "result" and isinstance(end.told, ProcessResult) and not swept:
                return end.told
            # What was found dead is no attempt of this launcher's, and the user resumed it to see it go on.
            if not submission.found:
                if meaning != "again":
                    raise failure(submission, job, end, meaning, printed)
                count += 1
                if count > self.settings.again:
                    raise AgentError(too_often(submission, job, self.settings, end, count))
            host.requeued(job.label, submission.number, end.state, count)
            host.say(f"job {submission.number} ({job.label}) {why(end)}; it is queued again")
            submission = None

    def forget(self, host: JobHost) -> None:
        """See `Executor.forget`."""
        with _answering():
            self._end(host, set(), lambda: None)

    def _known(self, job: Job, host: JobHost, tick: Tick) -> Submission | None:
        """Find the submission of an earlier launcher's, and cancel what else it left in the queue.

        One that has not begun, and that the cluster is asked for in another way by now, is no more the job's.
        """
        jobs, receipt, found = _jobs(host), host.known.get(job.label), None
        if receipt and receipt.folder in self.cluster.submitted:
            receipt = None
        if receipt and _is_here(host, receipt) and receipt.identity == job.identity:
            number = receipt.number
            if receipt.asked != asked(job, self.settings) and self._pends(number, _mark(jobs)):
                host.say(f"job {number} ({job.label}) has not begun, and was asked for otherwise")
            else:
                host.say(f"job {number} is found again ({job.label})")
                found = Submission(number, Path(receipt.folder), time.monotonic(), found=True)
        if (receipt and not found) or (jobs not in self.cluster.looked and jobs.is_dir()):
            spared = _recorded(host)
            with _answering():
                self._end(host, spared if found or not receipt else spared - {receipt.number}, tick)
        self.cluster.looked.add(jobs)
        return found

    def _pends(self, number: str, mark: str) -> bool:
        with _answering():
            queued = self.cluster.queue.rows(time.monotonic()).get(number)
        return queued is not None and queued.state == "PENDING" and queued.name.endswith(mark)

    def _end(self, host: JobHost, spared: set[str], tick: Tick) -> None:
        """Cancel the jobs of a host, and wait until they have ended: two would write into the same folders.

        Names are looked at, not only numbers: of jobs that a launcher submitted and did not live to record, and since
        another cluster may have given a number to somebody else.

        Raises:
            Unanswered: Slurm does not answer.
        """
        marks = {_mark(place) for place in (_jobs(host), *_earlier(host))}
        queue = self.cluster.queue
        said: list[str] = []
        while True:
            rows = queue.rows(time.monotonic())
            left = [number for number, row in rows.items() if row.under_way and row.name.rpartition(" ")[2] in marks]
            left = [number for number in left if number not in spared]
            if not left:
                return
            if left != said:
                host.say(f"cancelled, since nobody waits for it: job {', '.join(left)}")
            said = left
            cancel(left)
            _pause(queue.every, tick)

    def _submit(self, job: Job, host: JobHost, tick: Tick) -> Submission:
        jobs = _jobs(host)
        jobs.mkdir(exist_ok=True)
        # The folder ignores itself: it is no part of the campaign's history.
        if not (ignored := jobs / ".gitignore").exists():
            write_atomically(ignored, "*\n")
        folder = Path(tempfile.mkdtemp(prefix=re.sub(r"\W+", "_", job.label) + "_", dir=jobs))
        name = f"{host.name}: {job.label} {_mark(jobs)}"
        for attempt in range(1, _TRIES + 1):
            try:
                if attempt > 1:  # it may have taken the job, and only its answer was lost
                    self._end(host, _recorded(host), tick)
                with self.cluster.submitting:
                    tick()  # with many campaigns, a turn comes late
                    submission = submit(job, self.settings, name, folder)
                break
            except Unanswered as error:
                if attempt == _TRIES or not _PASSING.search(str(error)):
                    shutil.rmtree(folder)
                    raise AgentError(refused(job, error)) from error
                host.say(f"Slurm does not answer ({error}); trying again")
                _pause(self.cluster.queue.every * 2**attempt, tick)
        self.cluster.submitted.add(str(folder))
        number = submission.number
        host.submitted(Receipt(job.label, number, str(folder), job.identity, asked(job, self.settings)))
        host.say(f"job {number} is submitted ({job.label})")
        return submission

    def _wait(self, submission: Submission, job: Job, host: JobHost, tick: Tick) -> End:
        """Wait until a submission has ended and what it left can be seen here."""
        said, mark, number = set[str](), _mark(_jobs(host)), submission.number
        missing_since: float | None = None
        queue = self.cluster.queue
        queue.watch(number)
        try:
            while True:
                queue.refresh()
                row, as_of, told = queue.row(number, mark), queue.as_of, submission.told()
                if isinstance(told, ProcessResult) and told.ok:
                    return End("COMPLETED", row.seconds if row else 0, told)
                if queue.trouble and queue.trouble not in said:
                    said.add(queue.trouble)
                    host.say(f"Slurm does not answer ({queue.trouble}); waiting for job {number}")
                if as_of >= submission.since and not (row and row.under_way):
                    end = End(row.state if row else LOST, row.seconds if row else 0, told)
                    missing_since = as_of if missing_since is None else missing_since
                    known = end.state in ENDED_BY_CLUSTER or end.state in ("CANCELLED", "OUT_OF_MEMORY")
                    if told is not None or known or as_of - missing_since >= self.settings.grace_seconds:
                        return end
                else:
                    missing_since = None
                if row and row.state == "PENDING" and row.reason not in _SLOW | said:
                    said.add(row.reason)
                    host.say(f"job {number} ({job.label}) waits: {row.reason}")
                _pause(self.settings.poll_seconds, tick)
        finally:
            queue.unwatch(number)


def shared_cluster(poll_seconds: float) -> Cluster:
    """Return the one cluster of this process, so that one question serves all its campaigns.

    Args:
        poll_seconds: How often it is asked for the states of all jobs; the smallest that anyone wants counts.

    Raises:
        AgentError: See `Cluster`; or it does not answer the first question.
    """
    with _making:
        one = _of_this_process()
        one.queue.every = min(one.queue.every, poll_seconds)
        return one


@functools.cache
def _of_this_process() -> Cluster:
    one = Cluster(float("inf"))
    # Before anything is made that would wait for it.
    try:
        one.queue.rows(time.monotonic())
    except Unanswered as error:
        raise AgentError(
            f"Slurm does not answer here ({error}): --executor slurm works on a login node of a cluster that is up"
        ) from error
    return one


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except Unanswered as error:
        raise AgentError(f"Slurm does not answer ({error}): try again when it does") from error


def _jobs(host: JobHost) -> Path:
    """The folder of what belongs to the jobs of a host; none of them can write there."""
    return host.folder / "jobs"


def _mark(folder: Path) -> str:
    """The end of the names of a host's jobs."""
    return "#" + hashlib.sha256(str(folder).encode()).hexdigest()[:12]


def _is_here(host: JobHost, receipt: Receipt) -> bool:
    """True for a job that was submitted for the host's folder as it is called now."""
    return Path(receipt.folder).parent == _jobs(host)


def _recorded(host: JobHost) -> set[str]:
    """The numbers of the jobs that may still be asked for."""
    return {receipt.number for receipt in host.known.values() if _is_here(host, receipt)}


def _earlier(host: JobHost) -> set[Path]:
    """The places of the host's folder before it was moved; a folder that is still there is not it, but has a copy."""
    elsewhere = (receipt.folder for receipt in host.known.values() if not _is_here(host, receipt))
    return {Path(folder).parent for folder in elsewhere if not Path(folder).is_dir()}


def _swept(job: Job) -> bool:
    """True where what a job left is there no more, so that its result is worth nothing."""
    return not job.log.is_file() or not all(folder.is_dir() for folder in job.writable)


def _pause(seconds: float, tick: Tick) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        tick()
        time.sleep(min(PAUSE, left))
    tick()


def _out_of_memory(job: Job, settings: SlurmSettings, end: End) -> ProcessResult:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    job.log.touch()
    return ProcessResult(
        -9,
        end.told.seconds if isinstance(end.told, ProcessResult) else end.seconds,
        job.log,
        limits=job.limits,
        no_memory=True,
        allowed=settings.memory_of(job),
    )
