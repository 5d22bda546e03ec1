"""The step that has a scored run read by another model than the one that writes; nothing follows from it."""

from dataclasses import asdict

from agent.campaign.campaign import Campaign
from agent.campaign.events import Refereed
from agent.campaign.state import Run
from agent.dialogue.referee import read_run


def referee(campaign: Campaign, this: Run) -> None:
    """Ask the referee about a run and write down what it found.

    Args:
        campaign: The campaign.
        this: The run, scored.
    """
    with campaign.screen.step(f"run {this.number}: asking the referee {campaign.referee.name}"):
        found = read_run(campaign, this, campaign.referee)
    campaign.record(Refereed(run=this.number, model=campaign.referee.name, **asdict(found)))
    campaign.screen.say(f"  run {this.number}: the referee has {found.failure or f'{len(found.findings)} findings'}")
