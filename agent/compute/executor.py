"""The executors: their table, the interface of each, and all that one is told of the campaign whose jobs it runs.

Only the standard library is imported here: the command line reads the names of the table.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from agent.base.errors import AgentError

if TYPE_CHECKING:
    from agent.compute.job import Job
    from agent.compute.local import ProcessResult
    from agent.compute.settings import ExecutorSettings


@dataclass(frozen=True)
class Receipt:
    """A job that goes on without its launcher, written down so that the next launcher finds it.

    Args:
        label: The job's.
        number: Its id where it was submitted.
        folder: Where it leaves its outcome.
        identity: The job's.
        asked: A hash of all that was asked for it.
    """

    label: str
    number: str
    folder: str
    identity: str
    asked: str


class JobHost(Protocol):
    """The owner of jobs: all that an executor knows of a campaign."""

    @property
    def name(self) -> str:
        """The word that its jobs are called by where others see them."""
        ...

    @property
    def folder(self) -> Path:
        """Its own folder, which every machine that runs its jobs sees; one in it that is called `jobs` is theirs."""
        ...

    @property
    def known(self) -> Mapping[str, Receipt]:
        """The jobs that were submitted for the step under way, by label."""
        ...

    def say(self, text: str) -> None:
        """Tell the user, in a line."""
        ...

    def submitted(self, receipt: Receipt) -> None:
        """Write down that a job was submitted."""
        ...

    def requeued(self, label: str, number: str, state: str, count: int) -> None:
        """Write down that a job ended without a result and is submitted anew; it is known no more.

        Args:
            label: The job's.
            number: Its id where it was submitted.
            state: How it ended, in the words of where it ran.
            count: How often that has happened to it.
        """
        ...


class Executor(Protocol):
    """Runs jobs; called from the threads of several campaigns at a time."""

    def check(self) -> None:
        """Find out, before anything is made, whether jobs can be run.

        Raises:
            AgentError: They can't.
        """
        ...

    def run(self, job: "Job", host: JobHost, tick: Callable[[], None]) -> "ProcessResult":
        """Run a job, and wait for its end.

        Args:
            job: What is to be run.
            host: Whose it is; the job may be under way already, for an earlier launcher.
            tick: Called again and again in the meantime; raises when the user wants to stop.

        Returns:
            How it ended.

        Raises:
            AgentError: It could not be carried out, for a reason that is not the job's.
        """
        ...

    def forget(self, host: JobHost) -> None:
        """End what is still under way for a host, since nobody will ask for its outcome."""
        ...

    def places(self, gpus: int) -> int | None:
        """The number of jobs that it runs at a time, each with so many GPUs; None where that is no matter of ours.

        Where it is a number, the jobs share the cores of this machine.
        """
        ...

    def threads(self) -> list[Any]:
        """All that decides with how many threads a job computes; a key of what depends on them bit for bit holds it."""
        ...


@dataclass(frozen=True)
class Kind:
    """An executor in the table; dotted paths, so that only what is used is imported.

    Args:
        executor: `module:class` of an `Executor`, which is made with its settings, or with nothing where it has none.
        settings: `module:class` of its settings (`agent.compute.settings.ExecutorSettings`), each with a default; an
            option with the executor's name gives the file that they are read from. "" for none.
    """

    executor: str
    settings: str = ""


EXECUTORS = {
    "local": Kind("agent.compute.local_executor:Local"),
    "slurm": Kind("agent.compute.slurm.executor:Slurm", "agent.compute.slurm.settings:SlurmSettings"),
}


def make_executor(name: str, settings: "ExecutorSettings | None" = None) -> Executor:
    """Make an executor of the table.

    Args:
        name: Its name there.
        settings: What the user wants of it; its own defaults when None.

    Raises:
        AgentError: There is none of that name.
    """
    if name not in EXECUTORS:
        raise AgentError(f"there is no executor {name}; there are {', '.join(EXECUTORS)}")
    kind = EXECUTORS[name]
    executor = _load(kind.executor)
    made: Executor = executor(settings or _load(kind.settings)()) if kind.settings else executor()
    return made


def settings_types() -> "dict[str, type[ExecutorSettings]]":
    """The classes of the settings, by the names of the executors that have some."""
    return {name: _load(kind.settings) for name, kind in EXECUTORS.items() if kind.settings}


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
