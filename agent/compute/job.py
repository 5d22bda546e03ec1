"""A job: a command with all that it needs, carried out here or wherever the same folders are."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.base.files import write_atomically
from agent.base.keys import hub_token, scrub
from agent.base.places import PROJECT
from agent.compute.gpus import VISIBLE
from agent.compute.jail.spec import Limits
from agent.compute.local import ProcessResult, run
from agent.compute.sandbox import choose_sandbox, contain, gpus, remove, tidy


def _nothing() -> None: ...


@dataclass(frozen=True)
class Job:
    """A command, and what it may touch and use; paths are absolute.

    Args:
        label: What it is, in words; no other job that its host has under way has the same.
        command: The program and its arguments.
        cwd: Its working folder.
        env: Its whole environment.
        log: The file that takes its output.
        limits: What it may use.
        readable: The files and folders that it may read, beside the environment's packages.
        writable: The folders that it may change.
        empty: Folders of its own, emptied before it starts.
        hidden: Folders of the environment's packages that it may not read.
        sandboxed: Whether the user wants a sandbox.
        open: The lab's set-up, which reads nothing that a run made and may need the network: no sandbox.
        trusted: The project's own code: what it leaves is not looked through.
        gpus: How many GPUs it may use; 0 for none.
        memory: The bytes that it may need, where `limits` names no limit.
        makes: The thing that it leaves for other jobs to find, where it does; a cluster is given one job at a time that
            makes the same, since the others would hold their GPUs while they wait for it.
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
    hidden: list[Path] = field(default_factory=list)
    sandboxed: bool = True
    open: bool = False
    trusted: bool = False
    gpus: int = 0
    memory: int = 0
    makes: str = ""

    @property
    def identity(self) -> str:
        """A hash of what it does, where and for how long, by which a job that is under way is known again."""
        told: list[object] = [self.label, self.command, str(self.cwd), str(self.log), *map(str, self.writable)]
        told += [self.limits.seconds, self.env.get("SAE_LAB_SEED"), self.env.get("SAE_LAB_SETTINGS")]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    def on(self, visible: str | None) -> "Job":
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


def carry_out(job: Job, tick: Callable[[], None] = _nothing) -> ProcessResult:
    """Carry out a job on this machine, in the sandbox that this machine allows.

    Args:
        job: What is to be run.
        tick: Called about ten times a second while it runs.

    Returns:
        How it ended.

    Raises:
        AgentError: No sandbox works here, it could not be started, or its output could not be kept.
    """
    if job.open:
        return _set_up(job, tick)
    result = contain(
        choose_sandbox(job.sandboxed),
        job.command,
        cwd=job.cwd,
        env=job.env,
        log=job.log,
        limits=job.limits,
        readable=job.readable,
        writable=job.writable,
        hidden=job.hidden,
        devices=gpus() if job.gpus else [],
        tick=tick,
    )
    removed = [] if job.trusted else [name for folder in job.writable for name in tidy(folder)]
    if removed:
        with job.log.open("a") as file:
            file.write("\nRemoved, since only files and folders are kept: " + ", ".join(removed[:10]) + "\n")
    return result


def _set_up(job: Job, tick: Callable[[], None]) -> ProcessResult:
    """Carry out the lab's set-up, the only child that may need a key: the hub's token, from its standard input.

    Neither the job, which may be written to a file, nor the environment, which others can read, has the token.
    """
    seconds = job.limits.seconds if job.limits.seconds is not None else float("inf")
    token = hub_token(PROJECT)
    env = {**job.env, "HF_TOKEN_PATH": "/dev/stdin"} if token else job.env
    result = run(job.command, cwd=job.cwd, env=env, log=job.log, seconds=seconds, tick=tick, stdin=token)
    if token:
        write_atomically(job.log, scrub(job.log.read_text(encoding="utf-8", errors="replace")))
    return result
