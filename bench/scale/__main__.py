"""``python -m bench.scale``: one launcher with 100 and 1,000 sleeping runs under way, on the Slurm cluster at hand."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.base.errors import AgentError
from agent.base.interrupt import INTERRUPTED, Interrupt
from agent.base.screen import Screen
from agent.campaign.campaign import Campaign
from agent.campaign.settings import Settings
from agent.campaign.workspace import Workspace
from agent.cli.side_by_side import run_together
from agent.compute.jail.spec import Limits
from agent.compute.job import Job
from agent.compute.slurm.executor import Cluster, Slurm
from agent.compute.slurm.queue import cancel
from agent.compute.slurm.settings import SlurmSettings
from agent.idea import list_ideas, load_idea
from agent.steps.jobs import Host

ROOT = Path(__file__).resolve().parents[2]
PAGE = os.sysconf("SC_PAGE_SIZE")
LIMIT = Limits(seconds=7200, memory=10**8)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments; those of the process when None.

    Returns:
        0 when each count of runs was under way at a time, 1 when one was not, 2 where there is no Slurm.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--under-way", type=int, nargs="*", default=[100, 1000], metavar="N", help="how many runs")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each count is watched")
    parser.add_argument("--poll", type=float, default=10.0, help="seconds between two questions to the cluster")
    parser.add_argument("--json", action="store_true", help="a JSON list in place of the table")
    parser.add_argument("--alone", action="store_true", help="in this process, not in one of its own for each count")
    options = parser.parse_args(argv)
    if shutil.which("sbatch") is None:
        sys.stderr.write("error: no Slurm here: sbatch is not on the PATH\n")
        return 2
    Interrupt().listen()
    try:
        if options.alone:
            found = [measure(count, options.seconds, options.poll) for count in options.under_way]
        else:
            found = [_apart(count, options) for count in options.under_way]
    except KeyboardInterrupt:
        sys.stderr.write("stopped by the user; no job is left\n")
        return INTERRUPTED
    rows = [row for row in found if row]
    sys.stdout.write(json.dumps(rows) + "\n" if options.json else table(rows))
    reached = [row["under_way"] for row in rows if row["running"] + row["pending"] == row["under_way"]]
    return 0 if reached == options.under_way else 1


def measure(count: int, seconds: float, poll: float) -> dict[str, Any] | None:
    """Have a launcher wait for sleeping runs, and look at it.

    Args:
        count: How many campaigns, each with one run.
        seconds: How long it is looked at once all are submitted.
        poll: Seconds between two questions to the cluster.

    Returns:
        `under_way`, how many of them were `running` and `pending` for the cluster, `submit_seconds`, `memory_mb`,
        `idle_mb` (resident, with the runs and before them), `cpu_percent` of a core, `asked_a_minute` of the cluster.
        None when a run ended before that was known.

    Raises:
        KeyboardInterrupt: The user stopped it. No job is left, however this ends.
    """
    cluster = Cluster(poll)
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as name:
        campaigns = [_campaign(Path(name), number, cluster, poll) for number in range(count)]
        idle, began = _memory(), time.monotonic()
        interrupt, told = Interrupt(), list[dict[str, Any]]()
        watcher = threading.Thread(target=_watch, args=(campaigns, cluster, seconds, began, interrupt, told))
        watcher.start()
        interrupt.listen()
        try:
            run_together(campaigns, count, lambda campaign: _wait(campaign, interrupt), interrupt)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # what follows is short, and else jobs would be left
            interrupt.wish()
            watcher.join()
            _cancel(_jobs_of(campaigns), cluster)
            interrupt.listen()
    return {"under_way": count, "idle_mb": round(idle / 1e6, 1), **told[0]} if told else None


def table(rows: list[dict[str, Any]]) -> str:
    """The rows for people."""
    names = list(rows[0]) if rows else []
    lines = [names, *([str(row[name]) for name in names] for row in rows)]
    return "".join("  ".join(cell.rjust(14) for cell in line) + "\n" for line in lines)


def _watch(
    campaigns: list[Campaign],
    cluster: Cluster,
    seconds: float,
    began: float,
    interrupt: Interrupt,
    told: list[dict[str, Any]],
) -> None:
    try:
        while len(_jobs_of(campaigns)) < len(campaigns):
            _sleep(1, interrupt)
        submitted = time.monotonic() - began
        calls, cpu, start = cluster.queue.calls, time.process_time(), time.monotonic()
        _sleep(seconds, interrupt)
        passed = time.monotonic() - start
        figures = {
            "submit_seconds": round(submitted, 1),
            "memory_mb": round(_memory() / 1e6, 1),
            "cpu_percent": round(100 * (time.process_time() - cpu) / passed, 1),
            "asked_a_minute": round(60 * (cluster.queue.calls - calls) / passed, 1),
        }
        told.append({**_states(_jobs_of(campaigns), cluster), **figures})
    except KeyboardInterrupt:  # whoever wished it says why
        return
    finally:
        interrupt.wish()


def _wait(campaign: Campaign, interrupt: Interrupt) -> int:
    place = campaign.workspace.path
    folder, log = place / "run_1", place / "run_1" / "log.txt"
    command = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(3600)"]
    job = Job("run 1: sleeping", command, place, {}, log, LIMIT, [], [folder], [folder])
    try:
        result = campaign.executor.run(job, Host(campaign), interrupt.check)
        sys.stderr.write(f"error: a sleeping run ended ({result.reason(LIMIT.seconds or 0)})\n")
    except AgentError as error:
        sys.stderr.write(f"error: {error}\n")
    finally:
        # Without it there will never be so many: the others need not go on.
        interrupt.wish()
    return 1


def _jobs_of(campaigns: list[Campaign]) -> set[str]:
    return {entry.job for campaign in campaigns for entry in campaign.state.jobs.values()}


def _states(jobs: set[str], cluster: Cluster) -> dict[str, int]:
    """The numbers of jobs that run and that pend."""
    states = [row.state for job, row in cluster.queue.rows(time.monotonic()).items() if job in jobs]
    return {"running": states.count("RUNNING"), "pending": states.count("PENDING")}


def _cancel(jobs: set[str], cluster: Cluster) -> None:
    """Cancel jobs, and wait until they have ended: their folders are deleted next."""
    while True:
        rows = cluster.queue.rows(time.monotonic())
        left = [job for job in jobs if job in rows and rows[job].under_way]
        if not left:
            return
        cancel(left)
        time.sleep(1)


def _sleep(seconds: float, interrupt: Interrupt) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        interrupt.check()
        time.sleep(min(1, left))


def _campaign(runs: Path, number: int, cluster: Cluster, poll: float) -> Campaign:
    name = list_ideas()[0]
    idea = load_idea(name).model_copy(update={"Name": f"{name}_{number}"})
    slurm = SlurmSettings(poll_seconds=poll, cpus=8, memory_gb=0.2)
    settings = Settings.model_validate({"device": "cpu", "executor": "slurm", "slurm": slurm})
    workspace = Workspace.create(idea, settings, runs)
    return Campaign(workspace, Screen("quiet"), ROOT, Slurm(slurm, cluster))


def _memory() -> int:
    """The resident memory of this process, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def _apart(count: int, options: argparse.Namespace) -> dict[str, Any] | None:
    command = [sys.executable, "-m", "bench.scale", "--alone", "--json", "--under-way", str(count)]
    command += ["--seconds", str(options.seconds), "--poll", str(options.poll)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as alone:
        try:
            printed = alone.communicate()[0]
        except KeyboardInterrupt:
            alone.terminate()  # it cancels its jobs, and ends
            raise
    if alone.returncode not in (0, 1):
        raise (
            KeyboardInterrupt
            if alone.returncode == INTERRUPTED
            else subprocess.CalledProcessError(alone.returncode, command)
        )
    rows: list[dict[str, Any]] = json.loads(printed)
    return rows[0] if rows else None


if __name__ == "__main__":
    sys.exit(main())
