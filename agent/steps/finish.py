"""The last step of a campaign: its files compared with the hashes in its ledger."""

from agent.campaign.campaign import Campaign
from agent.campaign.events import Completed
from agent.campaign.hashes import changed_files


def finish(campaign: Campaign) -> None:
    """Compare all with their hashes; the last event of a campaign."""
    differences = changed_files(campaign.workspace.path, campaign.state.hashes)
    for line in differences:
        campaign.screen.say(f"  [red]{line}[/red]")
    state = campaign.state
    campaign.record(Completed(runs=len(state.runs), scored=len(state.scored), differences=differences))
