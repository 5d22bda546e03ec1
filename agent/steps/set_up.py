"""The lab's set-up: what all runs share, made once; and the activations in it, which are all that a run is handed."""

import json
from pathlib import Path
from typing import Any

from agent.campaign.campaign import Campaign
from agent.compute.commands import lab_command, progress_in
from agent.results.read import read_json
from agent.steps.failures import require
from agent.steps.jobs import environment, run_set_up


def prepare(campaign: Campaign) -> dict[str, Any]:
    """Have the lab make what all runs share: the subject model, the activations, the evaluations' set-up.

    Returns:
        The fingerprints of what there is.

    Raises:
        AgentError: It failed.
    """
    out = _facts(campaign)
    out.parent.mkdir(exist_ok=True)
    log = out.with_name("prepare.log")
    limit = campaign.profile.limits.score_seconds * 10
    arguments = ["--profile", str(campaign.profile.path), "--facts", str(out)]
    arguments += ["--evals", ",".join(campaign.settings.evals or campaign.profile.default_evals)]
    if campaign.settings.device:
        arguments += ["--device", campaign.settings.device]
    what = "set-up: model, activations, evaluations"
    with progress_in(log.parent) as progress, campaign.screen.step(what, progress) as tick:
        command = lab_command("lab.prepare", *arguments)
        env = environment(campaign, progress=progress)
        result = run_set_up(campaign, command, label=what, env=env, log=log, seconds=limit, tick=tick)
    require(result, "the lab's set-up", limit)
    facts: dict[str, Any] = json.loads(out.read_text())
    return facts


def activations(campaign: Campaign) -> Path:
    """The folder of the activations that runs are trained on, as the newest set-up has them; made where it is gone.

    Raises:
        AgentError: They could not be made.
    """
    from lab.handed import META, store_folder

    out = _facts(campaign)
    facts = read_json(out) if out.is_file() else prepare(campaign)
    if not (store_folder(facts["data"]) / META).is_file():
        facts = prepare(campaign)
    return store_folder(facts["data"])


def _facts(campaign: Campaign) -> Path:
    """Where the newest set-up left its fingerprints."""
    return campaign.workspace.run_dir(0) / "prepared.json"
