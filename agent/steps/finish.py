"""The last step of a campaign: its files compared with the hashes in its ledger."""

from agent.campaign.campaign import Campaign
from agent.campaign.events import Completed, SeedsRevealed
from agent.campaign.hashes import changed_files
from agent.campaign.seeds import read


def finish(campaign: Campaign) -> None:
    """Compare all with their hashes, and tell what the seeds were drawn from; the last events of a campaign.

    Args:
        campaign: The campaign, all else done.

    Raises:
        AgentError: The secret is lost.
    """
    if campaign.state.commitment and not campaign.state.revealed:
        secret = read(campaign.workspace.path, campaign.state.commitment).secret
        campaign.record(SeedsRevealed(secret=secret))
    differences = changed_files(campaign.workspace.path, campaign.state.hashes)
    for line in differences:
        campaign.screen.say(f"  [red]{line}[/red]")
    state = campaign.state
    campaign.record(Completed(runs=len(state.runs), scored=len(state.scored), differences=differences))
