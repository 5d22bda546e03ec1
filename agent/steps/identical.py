"""An edit that leaves the SAE as it was, bit for bit: found after its training, told, and not scored."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from agent.base.errors import AgentError
from agent.campaign.campaign import Campaign
from agent.campaign.state import Run
from agent.results.read import read_json
from agent.steps.smoke import template_weights
from agent.steps.train import first_seed, train_seed


def identical(campaign: Campaign, this: Run) -> str:
    """The name of an earlier script that trains the very SAE of a run from its seed; nothing where none does.

    Only one that left the same weights in the first pass of its smoke run is tried, for a whole training takes long.
    Which steps are in the second pass depends on the numbers in a script, so its weights tell less.

    Args:
        campaign: The campaign.
        this: The run, trained.
    """
    assert this.last is not None
    own, seed = campaign.workspace.run_dir(this.number), first_seed(campaign, this)
    for name, commit, weights in _earlier(campaign, this):
        if this.last.smoke and weights[:1] == this.last.smoke.weights[:1]:
            folder = own.with_name(f"run_{this.number}_like") / "run"
            what = f"run {this.number}: training {name} with its seed, for they began alike"
            other = train_seed(campaign, commit, folder, seed, what)
            same = not other.failure and _saved(folder) == _saved(own) != ""
            shutil.rmtree(folder.parent)
            return name if same else ""
    return ""


def _saved(folder: Path) -> str:
    """The hash of the SAE that a run saved, as its record has it; nothing where the record is damaged."""
    try:
        return str(read_json(folder / "training.json").get("sae", ""))
    except AgentError:
        return ""


def _earlier(campaign: Campaign, this: Run) -> Iterator[tuple[str, str, list[str]]]:
    """Name, commit and smoke weights of the template and of each scored run."""
    yield "the template", campaign.state.template, template_weights(campaign)
    for run in campaign.state.scored:
        if run.last and run.last.smoke and run.number != this.number:
            yield run.name, run.last.commit, run.last.smoke.weights
