"""The jobs of a campaign: made from its settings and profile, given to its executor, and written down in its ledger."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape

from agent.base.keys import child_environment
from agent.campaign.campaign import Campaign
from agent.campaign.events import Requeued, Submitted
from agent.compute.executor import Receipt
from agent.compute.jail.spec import Limits
from agent.compute.job import Job, carry_out
from agent.compute.local import ProcessResult


@dataclass(frozen=True)
class Host:
    """A campaign as its executor sees it (`agent.compute.executor.JobHost`).

    Args:
        campaign: The campaign.
    """

    campaign: Campaign

    @property
    def name(self) -> str:
        """The idea's name."""
        return self.campaign.idea.Name

    @property
    def folder(self) -> Path:
        """The campaign's folder."""
        return self.campaign.workspace.path

    @property
    def known(self) -> dict[str, Receipt]:
        """The jobs that the ledger has of the step under way."""
        return {
            label: Receipt(label, event.job, event.folder, event.order, event.asked)
            for label, event in self.campaign.state.jobs.items()
        }

    def say(self, text: str) -> None:
        """Show a line on the screen."""
        self.campaign.screen.say(f"  {escape(text)}")

    def submitted(self, receipt: Receipt) -> None:
        """Write a job that was submitted to the ledger."""
        self.campaign.record(
            Submitted(
                label=receipt.label,
                job=receipt.number,
                folder=receipt.folder,
                order=receipt.identity,
                asked=receipt.asked,
            )
        )

    def requeued(self, label: str, number: str, state: str, count: int) -> None:
        """Write the end of a job that is submitted anew to the ledger."""
        self.campaign.record(Requeued(label=label, job=number, state=state, count=count))


def run_contained(
    campaign: Campaign,
    command: Sequence[str],
    *,
    label: str,
    cwd: Path,
    env: Mapping[str, str],
    log: Path,
    seconds: float,
    writable: Iterable[Path],
    readable: Iterable[Path] = (),
    empty: Iterable[Path] = (),
    trusted: bool = False,
    gpu: bool = True,
    tick: Callable[[], None] = lambda: None,
) -> ProcessResult:
    """Run a command of a campaign in its sandbox, within the profile's limits, wherever the campaign runs things.

    Args:
        campaign: Whose executor, sandbox, limits and cache count.
        command: The program and its arguments.
        label: What it is, in words.
        cwd: Its working folder; it may not write there unless that is said below.
        env: Its environment (`environment`).
        log: The file that takes its output.
        seconds: The time limit.
        writable: The folders that it may change; they must exist, but for those to be emptied.
        readable: The files and folders that it may read, beside the environment's packages and the profile.
        empty: Those of the writable folders that are emptied first.
        trusted: The project's own code, which reads what others wrote: it may read models and texts and write the
            cache, and only its time is limited.
        gpu: Whether it may use a GPU; what needs none is run on this machine at once.
        tick: Called again and again while it runs.

    Returns:
        How it ended. Links, devices and the like that it left in its folders are gone.

    Raises:
        AgentError: It could not be started, or its output could not be kept.
    """
    from lab.cache import ROOT_VARIABLE, root
    from lab.handed import withheld

    hub = _hub(campaign) if trusted else None
    lent = {ROOT_VARIABLE: str(root()), **({"HF_HUB_CACHE": str(hub)} if hub else {})} if trusted else {}
    folders = [path.absolute() for path in writable]
    job = Job(
        label,
        list(command),
        cwd.absolute(),
        {**env, "HF_HUB_OFFLINE": "1", **lent},
        log.absolute(),
        Limits(seconds) if trusted else _limits(campaign, seconds),
        readable=[*map(Path.absolute, readable), campaign.profile.path, *([hub] if hub else [])],
        writable=[*folders, root()] if trusted else folders,
        empty=[path.absolute() for path in empty],
        hidden=[] if trusted else withheld(campaign.profile),
        sandboxed=campaign.settings.sandbox,
        trusted=trusted,
        gpus=_gpus(campaign) if gpu else 0,
        memory=_memory(campaign),
    )
    if gpu:
        return _run(campaign, job, tick)
    job.clear()
    return carry_out(job, tick)


def run_set_up(
    campaign: Campaign,
    command: Sequence[str],
    *,
    label: str,
    env: Mapping[str, str],
    log: Path,
    seconds: float,
    tick: Callable[[], None] = lambda: None,
) -> ProcessResult:
    """Run the lab's set-up, which may fetch what a profile names; it reads nothing that a run made, so it is not held.

    Args:
        campaign: Whose executor counts.
        command: The program and its arguments.
        label: What it is, in words.
        env: Its environment.
        log: The file that takes its output; its folder is the working folder.
        seconds: The time limit.
        tick: Called again and again while it runs.

    Returns:
        How it ended.

    Raises:
        AgentError: It could not be started, or its output could not be kept.
    """
    from lab.cache import ROOT_VARIABLE, root

    place = log.parent.absolute()
    job = Job(
        label,
        list(command),
        place,
        {**env, ROOT_VARIABLE: str(root())},
        place / log.name,
        Limits(seconds),
        readable=[],
        writable=[],
        empty=[],
        open=True,
        trusted=True,
        gpus=_gpus(campaign),
        memory=_memory(campaign),
        makes=f"the set-up of {campaign.profile.path}",
    )
    return _run(campaign, job, tick)


def environment(
    campaign: Campaign, seed: int = 0, progress: Path | None = None, settings: str = "{}"
) -> dict[str, str]:
    """The environment of a job: an allow-list, and what the lab reads.

    Args:
        campaign: Whose profile and device count.
        seed: The seed of the run; the lab's, not the experiment's.
        progress: Where the lab says how far it is.
        settings: Overrides of the experiment's configuration, as JSON.

    Returns:
        The whole environment.
    """
    extra = {
        "SAE_LAB_PROFILE": str(campaign.profile.path),
        "SAE_LAB_SEED": str(seed),
        "SAE_LAB_SETTINGS": settings,
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLBACKEND": "Agg",
        # Threads that wait by spinning take the cores from other work on a shared machine, three times over.
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    if progress is not None:
        extra["SAE_LAB_PROGRESS"] = str(progress)
    if campaign.settings.device:
        extra["SAE_LAB_DEVICE"] = campaign.settings.device
    return child_environment(extra)


def _run(campaign: Campaign, job: Job, tick: Callable[[], None]) -> ProcessResult:
    return campaign.executor.run(job, Host(campaign), tick)


def _limits(campaign: Campaign, seconds: float) -> Limits:
    allowed = campaign.profile.limits
    return Limits(
        seconds,
        memory=_memory(campaign),
        processes=allowed.run_processes,
        disk=int(allowed.run_disk_gb * 1e9),
        files=allowed.run_files,
        output=int(allowed.run_output_mb * 1e6),
    )


def _memory(campaign: Campaign) -> int:
    """The bytes that a run may hold."""
    return int(campaign.profile.limits.run_memory_gb * 1e9)


def _gpus(campaign: Campaign) -> int:
    """The number of GPUs that a run may use, where there are any."""
    return 0 if campaign.settings.device == "cpu" else campaign.settings.gpus


def _hub(campaign: Campaign) -> Path | None:
    """The hub's copies on this machine, without the token that lies beside them; None where none are needed."""
    if campaign.profile.subject.source != "hub":
        return None
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)
