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
    from agent.base.screen import Screen
    from agent.campaign.campaign import Campaign
    from agent.campaign.workspace import Workspace

    return gather(Campaign(Workspace(folder), Screen("quiet"), folder))
