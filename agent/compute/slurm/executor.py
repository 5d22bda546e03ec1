"""Sends orders to a Slurm cluster and waits for them; a launcher that died finds its jobs again by their ids.

What is known of a job is in the campaign's ledger (`submitted`, `requeued`) and in the folder `jobs` of its workspace,
where the job leaves its result. Only the launcher queues a job again, once Slurm says that the one before has ended;
`docs/scale.md` tells in which cases two may run at a time all the same.
"""

import functools
import hashlib
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from agent.base.errors import AgentError
from agent.base.files import write_atomically
from agent.campaign.events import Requeued, Submitted
from agent.compute.job import Order
from agent.compute.local import Result
from agent.compute.slurm.outcome import LOST, End, failure, judge, refused, too_often, why
from agent.compute.slurm.queue import ENDED_BY_CLUSTER, Queue, Unanswered, cancel
from agent.compute.slurm.settings import SlurmSettings
from agent.compute.slurm.submission import Job, asked, submit

if TYPE_CHECKING:
    from agent.campaign.campaign import Campaign

Tick = Callable[[], None]
PAUSE = 0.5
_TRIES = 4
_making = threading.Lock()
# Of what sbatch says when it is not the job that is wrong.
_PASSING = re.compile(
    r"contact|timed? ?out|temporar|connect|communicat|not responding|unable to accept|did not end|zero bytes", re.I
)
_SLOW = frozenset(("", "Priority", "Resources", "None"))


class Slurm:
    """The cluster that Slurm's commands on this machine lead to.

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
        self._looked: set[Path] = set()
        self._submitted: set[str] = set()
        self._submitting = threading.Lock()
        self._set_up: dict[str, threading.Lock] = {}

    def run(self, campaign: "Campaign", order: Order, tick: Tick) -> Result:
        """See `agent.compute.executor.Executor.run`."""
        if not order.open:
            return self._run(campaign, order, tick)
        # The set-ups of a profile make the same things: all but one would hold a GPU while they wait for the cache.
        turn = self._set_up.setdefault(str(campaign.profile.path), threading.Lock())
        while not turn.acquire(timeout=PAUSE):
            tick()
        try:
            return self._run(campaign, order, tick)
        finally:
            turn.release()

    def _run(self, campaign: "Campaign", order: Order, tick: Tick) -> Result:
        settings = campaign.settings.slurm or SlurmSettings()
        job = self._known(campaign, order, settings, tick)
        count = 0
        while True:
            job = job or self._submit(campaign, order, settings, tick)
            try:
                end = self._wait(campaign, job, order, settings, tick)
            except BaseException:
                campaign.screen.say(f"  job {job.number} ({order.label}) goes on; a resumed campaign finds it again")
                raise
            printed = job.printed()
            verdict = judge(end, printed)
            if verdict == "memory":
                return _out_of_memory(campaign, order, settings, end)
            if verdict == "result" and isinstance(end.told, Result) and not (job.found and _swept(order)):
                return end.told
            # What was found dead is no attempt of this launcher's, and the user resumed it to see it go on.
            if not job.found:
                if verdict != "again":
                    raise failure(job, order, end, verdict, printed)
                count += 1
                if count > settings.again:
                    raise AgentError(too_often(job, order, settings, end, count))
            campaign.record(Requeued(label=order.label, job=job.number, state=end.state, count=count))
            campaign.screen.say(f"  job {job.number} ({order.label}) {why(end)}; it is queued again")
            job = None

    def forget(self, campaign: "Campaign") -> None:
        """See `agent.compute.executor.Executor.forget`."""
        with _answering():
            self._end(campaign, set(), lambda: None)

    def _known(self, campaign: "Campaign", order: Order, settings: SlurmSettings, tick: Tick) -> Job | None:
        """The job of an order that an earlier launcher submitted; what else it left in the queue is cancelled.

        One that has not begun, and that the cluster is asked for in another way by now, is no more it.
        """
        jobs, entry, job = _jobs(campaign), campaign.state.jobs.get(order.label), None
        if entry and entry.folder in self._submitted:
            entry = None
        if entry and _is_here(campaign, entry) and entry.order == order.identity:
            anew = entry.asked != asked(order, settings, _usual_memory(campaign))
            if anew and self._pends(entry.job, _mark(jobs)):
                campaign.screen.say(f"  job {entry.job} ({order.label}) has not begun, and was asked for otherwise")
            else:
                campaign.screen.say(f"  job {entry.job} is found again ({order.label})")
                job = Job(entry.job, Path(entry.folder), time.monotonic(), found=True)
        if (entry and not job) or (jobs not in self._looked and jobs.is_dir()):
            spared = _recorded(campaign)
            with _answering():
                self._end(campaign, spared if job or not entry else spared - {entry.job}, tick)
        self._looked.add(jobs)
        return job

    def _pends(self, job: str, mark: str) -> bool:
        with _answering():
            row = self.queue.rows(time.monotonic()).get(job)
        return row is not None and row.state == "PENDING" and row.name.endswith(mark)

    def _end(self, campaign: "Campaign", spared: set[str], tick: Tick) -> None:
        """Cancel the jobs of a workspace, and wait until they have ended: two would write into the same folders.

        Names are looked at, not only numbers: of jobs that a launcher submitted and did not live to record, and since
        another cluster may have given a number to somebody else.

        Raises:
            Unanswered: Slurm does not answer.
        """
        marks = {_mark(place) for place in (_jobs(campaign), *_earlier(campaign))}
        said: list[str] = []
        while True:
            rows = self.queue.rows(time.monotonic())
            left = [job for job, row in rows.items() if row.under_way and row.name.rpartition(" ")[2] in marks]
            left = [job for job in left if job not in spared]
            if not left:
                return
            if left != said:
                campaign.screen.say(f"  cancelled, since nobody waits for it: job {', '.join(left)}")
            said = left
            cancel(left)
            _pause(self.queue.every, tick)

    def _submit(self, campaign: "Campaign", order: Order, settings: SlurmSettings, tick: Tick) -> Job:
        jobs = _jobs(campaign)
        jobs.mkdir(exist_ok=True)
        # The folder ignores itself: it is no part of the campaign's history.
        if not (ignored := jobs / ".gitignore").exists():
            write_atomically(ignored, "*\n")
        folder = Path(tempfile.mkdtemp(prefix=re.sub(r"\W+", "_", order.label) + "_", dir=jobs))
        name = f"{campaign.idea.Name}: {order.label} {_mark(jobs)}"
        for number in range(1, _TRIES + 1):
            try:
                if number > 1:  # it may have taken the job, and only its answer was lost
                    self._end(campaign, _recorded(campaign), tick)
                with self._submitting:
                    tick()  # with many campaigns, a turn comes late
                    job = submit(order, settings, name, folder, _usual_memory(campaign))
                break
            except Unanswered as error:
                if number == _TRIES or not _PASSING.search(str(error)):
                    shutil.rmtree(folder)
                    raise AgentError(refused(order, error)) from error
                campaign.screen.say(f"  Slurm does not answer ({escape(str(error))}); trying again")
                _pause(self.queue.every * 2**number, tick)
        self._submitted.add(str(folder))
        campaign.record(
            Submitted(
                label=order.label,
                job=job.number,
                folder=str(folder),
                order=order.identity,
                asked=asked(order, settings, _usual_memory(campaign)),
            )
        )
        campaign.screen.say(f"  job {job.number} is submitted ({order.label})")
        return job

    def _wait(self, campaign: "Campaign", job: Job, order: Order, settings: SlurmSettings, tick: Tick) -> End:
        """Wait until a job has ended and what it left can be seen here."""
        said, mark = set[str](), _mark(_jobs(campaign))
        missing_since: float | None = None
        self.queue.watch(job.number)
        try:
            while True:
                self.queue.refresh()
                row, as_of, told = self.queue.row(job.number, mark), self.queue.as_of, job.told()
                if isinstance(told, Result) and told.ok:
                    return End("COMPLETED", row.seconds if row else 0, told)
                if self.queue.trouble and self.queue.trouble not in said:
                    said.add(self.queue.trouble)
                    trouble = escape(self.queue.trouble)
                    campaign.screen.say(f"  Slurm does not answer ({trouble}); waiting for job {job.number}")
                if as_of >= job.since and not (row and row.under_way):
                    end = End(row.state if row else LOST, row.seconds if row else 0, told)
                    missing_since = as_of if missing_since is None else missing_since
                    known = end.state in ENDED_BY_CLUSTER or end.state in ("CANCELLED", "OUT_OF_MEMORY")
                    if told is not None or known or as_of - missing_since >= settings.grace_seconds:
                        return end
                else:
                    missing_since = None
                if row and row.state == "PENDING" and row.reason not in _SLOW | said:
                    said.add(row.reason)
                    campaign.screen.say(f"  job {job.number} ({order.label}) waits: {escape(row.reason)}")
                _pause(settings.poll_seconds, tick)
        finally:
            self.queue.unwatch(job.number)


def cluster(poll_seconds: float) -> Slurm:
    """The one executor of this process for the cluster, so that one question serves all its campaigns.

    Args:
        poll_seconds: How often it is asked for the states of all jobs; the smallest that anyone wants counts.

    Raises:
        AgentError: See `Slurm`; or it does not answer the first question.
    """
    with _making:
        one = _of_this_process()
        one.queue.every = min(one.queue.every, poll_seconds)
        return one


@functools.cache
def _of_this_process() -> Slurm:
    one = Slurm(float("inf"))
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


def _jobs(campaign: "Campaign") -> Path:
    """What belongs to the jobs of a campaign; no run can write there."""
    return campaign.workspace.path / "jobs"


def _mark(folder: Path) -> str:
    """The end of the names of a workspace's jobs."""
    return "#" + hashlib.sha256(str(folder).encode()).hexdigest()[:12]


def _is_here(campaign: "Campaign", entry: Submitted) -> bool:
    """Whether a job of the ledger was submitted for the workspace as it is called now."""
    return Path(entry.folder).parent == _jobs(campaign)


def _recorded(campaign: "Campaign") -> set[str]:
    """The jobs of the ledger that may still be asked for."""
    return {entry.job for entry in campaign.state.jobs.values() if _is_here(campaign, entry)}


def _earlier(campaign: "Campaign") -> set[Path]:
    """Where the workspace was before it got another name; a folder that is still there is not it, but has a copy."""
    elsewhere = (entry.folder for entry in campaign.state.jobs.values() if not _is_here(campaign, entry))
    return {Path(folder).parent for folder in elsewhere if not Path(folder).is_dir()}


def _swept(order: Order) -> bool:
    """Whether what a job left is there no more, so that its result is worth nothing."""
    return not order.log.is_file() or not all(folder.is_dir() for folder in order.writable)


def _pause(seconds: float, tick: Tick) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        tick()
        time.sleep(min(PAUSE, left))
    tick()


def _usual_memory(campaign: "Campaign") -> float:
    """What a run may hold, bytes."""
    return campaign.profile.limits.run_memory_gb * 1e9


def _out_of_memory(campaign: "Campaign", order: Order, settings: SlurmSettings, end: End) -> Result:
    order.log.parent.mkdir(parents=True, exist_ok=True)
    order.log.touch()
    allowed = settings.memory_of(order, _usual_memory(campaign))
    return Result(
        -9,
        end.told.seconds if isinstance(end.told, Result) else end.seconds,
        order.log,
        limits=order.limits,
        no_memory=True,
        allowed=allowed,
    )
