"""An order: a command of a campaign with all that it needs, carried out here or where the same folders are."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from agent.base.files import write_atomically
from agent.base.keys import hub_token, scrub
from agent.base.places import PROJECT
from agent.compute.gpus import VISIBLE
from agent.compute.jail.spec import Limits
from agent.compute.local import Result, run
from agent.compute.sandbox import choose_sandbox, contain, gpus, remove, tidy

if TYPE_CHECKING:
    from agent.campaign.campaign import Campaign


def _nothing() -> None: ...


@dataclass(frozen=True)
class Order:
    """What is to be run, and what it may touch and use; paths are absolute.

    Args:
        label: What it is, in words, unlike any other that a campaign has under way.
        command: The program and its arguments.
        cwd: Its working folder.
        env: Its whole environment.
        log: The file that takes its output.
        limits: What it may use.
        readable: The files and folders that it may read, beside the environment's packages.
        writable: The folders that it may change.
        empty: Folders of its own, emptied before it starts.
        sandboxed: Whether the user wants a sandbox.
        open: The lab's set-up, which reads nothing that a run made and may need the network: no sandbox.
        trusted: The project's own code: what it leaves is not looked through.
        gpus: How many GPUs it may use; 0 for none.
    """

    label: str
    command: list[str]
    cwd: Path
    env: dict[str, str]
    log: Path
    limits: Limits
    readable: list[Path]
    writable: list[Path]
    empty: list[Path]
    sandboxed: bool = True
    open: bool = False
    trusted: bool = False
    gpus: int = 0

    @property
    def identity(self) -> str:
        """A hash of what it does, where and for how long, by which an order that is under way is known again."""
        told: list[object] = [self.label, self.command, str(self.cwd), str(self.log), *map(str, self.writable)]
        told += [self.limits.seconds, self.env.get("SAE_LAB_SEED"), self.env.get("SAE_LAB_SETTINGS")]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    def on(self, visible: str | None) -> "Order":
        """The same, with the GPUs that it was handed out.

        Args:
            visible: Their names, with commas; None where that is not known.
        """
        return self if visible is None else replace(self, env={**self.env, VISIBLE: visible})

    def clear(self) -> None:
        """Empty its folders: what an attempt that was cut short left is no part of this one."""
        for folder in self.empty:
            remove(folder)
            folder.mkdir(parents=True)


def run_contained(
    campaign: "Campaign",
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
    tick: Callable[[], None] = _nothing,
) -> Result:
    """Run a command of a campaign in its sandbox, within the profile's limits, wherever the campaign runs things.

    Args:
        campaign: Whose executor, sandbox, limits and cache count.
        command: The program and its arguments.
        label: What it is, in words.
        cwd: Its working folder; it may not write there unless that is said below.
        env: Its environment (`agent.steps.environment.environment`).
        log: The file that takes its output.
        seconds: The time limit.
        writable: The folders that it may change; they must exist, but for those to be emptied.
        readable: The files and folders that it may read, beside the environment's packages, the profile and what the
            cache holds for training.
        empty: Those of the writable folders that are emptied first.
        trusted: The project's own code, which reads what others wrote: it may write the cache, and only its time is
            limited.
        gpu: Whether it may use a GPU; what needs none is run on this machine at once.
        tick: Called again and again while it runs.

    Returns:
        How it ended. Links, devices and the like that it left in its folders are gone.

    Raises:
        AgentError: It could not be started, or its output could not be kept.
    """
    from lab.cache import root
    from lab.prepare import READ_BY_RUNS

    cached = [] if trusted else [root() / kind for kind in READ_BY_RUNS]
    hub = _hub(campaign)
    folders = [path.absolute() for path in writable]
    order = Order(
        label,
        list(command),
        cwd.absolute(),
        {**env, "HF_HUB_OFFLINE": "1", **({"HF_HUB_CACHE": str(hub)} if hub else {})},
        log.absolute(),
        Limits(seconds) if trusted else _limits(campaign, seconds),
        readable=[*map(Path.absolute, readable), campaign.profile.path, *cached, *([hub] if hub else [])],
        writable=[*folders, root()] if trusted else folders,
        empty=[path.absolute() for path in empty],
        sandboxed=campaign.settings.sandbox,
        trusted=trusted,
        gpus=_gpus(campaign) if gpu else 0,
    )
    if gpu:
        return campaign.executor.run(campaign, order, tick)
    order.clear()
    return carry_out(order, tick)


def run_set_up(
    campaign: "Campaign",
    command: Sequence[str],
    *,
    label: str,
    env: Mapping[str, str],
    log: Path,
    seconds: float,
    tick: Callable[[], None] = _nothing,
) -> Result:
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
    place = log.parent.absolute()
    order = Order(
        label, list(command), place, dict(env), place / log.name, Limits(seconds), [], [], [], open=True, trusted=True
    )
    return campaign.executor.run(campaign, replace(order, gpus=_gpus(campaign)), tick)


def carry_out(order: Order, tick: Callable[[], None] = _nothing) -> Result:
    """Carry out an order on this machine, in the sandbox that this machine allows.

    Args:
        order: What is to be run.
        tick: Called about ten times a second while it runs.

    Returns:
        How it ended.

    Raises:
        AgentError: No sandbox works here, it could not be started, or its output could not be kept.
    """
    if order.open:
        return _set_up(order, tick)
    result = contain(
        choose_sandbox(order.sandboxed),
        order.command,
        cwd=order.cwd,
        env=order.env,
        log=order.log,
        limits=order.limits,
        readable=order.readable,
        writable=order.writable,
        devices=gpus() if order.gpus else [],
        tick=tick,
    )
    removed = [] if order.trusted else [name for folder in order.writable for name in tidy(folder)]
    if removed:
        with order.log.open("a") as file:
            file.write("\nRemoved, since only files and folders are kept: " + ", ".join(removed[:10]) + "\n")
    return result


def _set_up(order: Order, tick: Callable[[], None]) -> Result:
    """Carry out the lab's set-up, the only child that may need a key: the hub's token, from its standard input.

    Neither the order, which may be written to a file, nor the environment, which others can read, has the token.
    """
    seconds = order.limits.seconds if order.limits.seconds is not None else float("inf")
    token = hub_token(PROJECT)
    env = {**order.env, "HF_TOKEN_PATH": "/dev/stdin"} if token else order.env
    result = run(order.command, cwd=order.cwd, env=env, log=order.log, seconds=seconds, tick=tick, stdin=token)
    if token:
        write_atomically(order.log, scrub(order.log.read_text(encoding="utf-8", errors="replace")))
    return result


def _limits(campaign: "Campaign", seconds: float) -> Limits:
    allowed = campaign.profile.limits
    return Limits(
        seconds,
        memory=int(allowed.run_memory_gb * 1e9),
        processes=allowed.run_processes,
        disk=int(allowed.run_disk_gb * 1e9),
        files=allowed.run_files,
        output=int(allowed.run_output_mb * 1e6),
    )


def _gpus(campaign: "Campaign") -> int:
    """How many GPUs a run of a campaign may use, where there are any."""
    return 0 if campaign.settings.device == "cpu" else campaign.settings.gpus


def _hub(campaign: "Campaign") -> Path | None:
    """The hub's copies on this machine, without the token that lies beside them; None where none are needed."""
    if campaign.profile.subject.source != "hub":
        return None
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)
