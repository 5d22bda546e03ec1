"""Commands of a step that failed: the run's fault, the disk's, or something that only the user can mend."""

import shutil
from pathlib import Path

from agent.base.errors import AgentError
from agent.base.files import flush
from agent.campaign.campaign import Campaign
from agent.campaign.events import Failed
from agent.campaign.state import Run
from agent.compute.local import ProcessResult, tail

# Characters of a failure that a prompt has room for.
FEEDBACK = 1500
# A failure with fewer bytes left on the disk counts as the disk's.
ROOM = 2**28


def on_disk(campaign: Campaign, result: ProcessResult, folders: list[Path], what: str) -> ProcessResult:
    """Have what was made on the disk before the ledger says so; tell a disk that is full from a run that fails.

    Args:
        campaign: The campaign.
        result: How a command ended.
        folders: What it has written.
        what: The step, in words.

    Returns:
        The result, unchanged.

    Raises:
        AgentError: It failed, and the disk has no room for it.
    """
    if result.ok:
        for folder in folders:
            flush(folder)
        return result
    disk = shutil.disk_usage(campaign.workspace.path)
    if disk.free < min(ROOM, disk.total / 4):
        raise AgentError(
            f"{what} failed with {disk.free / 1e6:.0f} MB left on the disk of {campaign.workspace.path}: "
            "free some space"
        )
    return result


def require(result: ProcessResult, what: str, limit: float) -> None:
    """Stop the campaign when a step that is not the model's doing failed.

    Raises:
        AgentError: With the last line of the output.
    """
    if not result.ok:
        last = (tail(result.log).splitlines() or ["no output"])[-1]
        raise AgentError(f"{what} failed ({result.reason(limit)}): {last}; the whole output is in {result.log}")


def fail(campaign: Campaign, this: Run, reason: str, result: ProcessResult) -> None:
    """Keep what a failed attempt left, and say what happened in a form that fits into a prompt.

    Args:
        campaign: The campaign.
        this: The run; its newest attempt has failed.
        reason: Why, in a few words.
        result: How its command ended.
    """
    assert this.last is not None
    folder = campaign.workspace.run_dir(this.number)
    output = tail(result.log, FEEDBACK - len(reason) - 2)
    kept = failed_dir(campaign, this)
    shutil.rmtree(kept, ignore_errors=True)
    folder.rename(kept)
    campaign.record(
        Failed(
            run=this.number,
            attempt=this.last.number,
            reason=reason,
            output=output,
            seconds=round(result.seconds, 2),
            kept=kept.name,
        )
    )
    campaign.screen.say(f"  run {this.number}, attempt {this.last.number}: [red]failed[/red], {reason}")


def failed_dir(campaign: Campaign, this: Run) -> Path:
    """The folder of what the newest attempt of a run left, once it has failed."""
    assert this.last is not None
    return campaign.workspace.path / f"run_{this.number}_failed_{this.last.number}"
