"""The loop: look at where the campaign stands, do the next step, write down what happened, until it is done.

Every step ends with an event in the ledger, and the next step is a pure function of those events
(`agent.campaign.state`). So a campaign that was stopped, or killed, anywhere goes on by being started again.
"""

from collections.abc import Callable

from agent.campaign.campaign import Campaign
from agent.campaign.recovery import recover
from agent.campaign.state import Run, Step, next_step
from agent.report.review import write_report
from agent.steps.after_step import after_step
from agent.steps.baselines import make_baselines
from agent.steps.confirm import confirm
from agent.steps.figures import edit_plots, make_plots
from agent.steps.finish import finish
from agent.steps.freshness import check_freshness
from agent.steps.match import match
from agent.steps.propose import propose
from agent.steps.referee import referee
from agent.steps.repeat import repeat
from agent.steps.score import score
from agent.steps.smoke import smoke
from agent.steps.train import train


def run_campaign(campaign: Campaign) -> None:
    """Go on with a campaign until it is done.

    Args:
        campaign: A new one, or one that was stopped.

    Raises:
        AgentError: Something that only the user can mend; what was done is kept, and `--resume` goes on.
        KeyboardInterrupt: The user stopped it; the same holds.
    """
    recover(campaign)
    check_freshness(campaign)
    # A launcher that was killed may have had no time for it.
    after_step(campaign)
    while True:
        campaign.screen.check()
        step, run = next_step(campaign.state)
        if step == "done":
            write_report(campaign)
            return
        if run is not None:
            _ABOUT_A_RUN[step](campaign, run)
        else:
            _ABOUT_ALL[step](campaign)
        after_step(campaign)


_ABOUT_A_RUN: dict[Step, Callable[[Campaign, Run], None]] = {
    "propose": propose,
    "smoke": smoke,
    "train": train,
    "score": score,
    "match": match,
    "repeat": repeat,
    "referee": referee,
}
_ABOUT_ALL: dict[Step, Callable[[Campaign], None]] = {
    "baselines": make_baselines,
    "confirm": confirm,
    "plot_edit": edit_plots,
    "plot": make_plots,
    "finish": finish,
}
