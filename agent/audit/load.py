"""Opens a campaign's folder to read what it can answer for."""

from pathlib import Path

from agent.audit.evidence import Evidence, gather


def load_evidence(folder: Path) -> Evidence:
    """Read a campaign.

    Args:
        folder: The campaign's, under runs/; nothing in it is changed.

    Returns:
        The evidence.

    Raises:
        AgentError: It is no campaign's folder, or a file in it is damaged.
    """
    from agent.campaign.record import Record

    return gather(Record.open(folder))
