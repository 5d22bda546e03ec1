"""The baselines (run_0): the template's own code, trained with several seeds and scored as any run is.

They are made once for a template, profile, data, evaluator, versions and device, and kept in the lab's cache under a
key of all these; a change of any makes them anew.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from agent.campaign import Campaign
from agent.execute.local import run
from agent.execute.runs import evaluate, require
from agent.execute.sandbox import run_contained
from agent.execute.surroundings import environment, lab_command, progress_file
from agent.files import sha256
from agent.workspace import EXPERIMENT, LEFT_BEHIND, TEMPLATE


def make_baselines(campaign: Campaign) -> None:
    """Put the baselines into `run_0/`, training and scoring those that the cache does not hold.

    Args:
        campaign: The campaign, just begun.

    Raises:
        AgentError: The lab's set-up or a baseline failed; the line says where its output is.
    """
    facts = prepare(campaign)
    folder = campaign.workspace.run_dir(0)
    keys = {}
    for architecture in campaign.profile.baselines.architectures:
        key = baseline_key(campaign, facts, architecture)
        cached = _cached(campaign, key, architecture)
        for source in sorted(cached.glob(f"{architecture}_seed*")):
            target = folder / source.name
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target)
        keys[architecture] = cached.name
    names = sorted(path.name for path in campaign.workspace.baseline_dirs())
    campaign.record("baselines", keys=keys, runs=names, facts=facts)


def prepare(campaign: Campaign) -> dict[str, Any]:
    """Have the lab make what all runs share: the subject model, the activations, the evaluations' set-up.

    Returns:
        The fingerprints of what there is.
    """
    log = campaign.workspace.path / "run_0" / "prepare.log"
    log.parent.mkdir(exist_ok=True)
    out = log.with_name("prepared.json")
    limit = campaign.profile.limits.score_seconds * 10
    arguments = ["--profile", str(campaign.profile.path), "--facts", str(out)]
    arguments += ["--evals", ",".join(campaign.settings.evals or campaign.profile.default_evals)]
    if campaign.settings.device:
        arguments += ["--device", campaign.settings.device]
    with progress_file() as progress, campaign.screen.step("set-up: model, activations, evaluations", progress) as tick:
        command = lab_command("lab.prepare", *arguments)
        env = environment(campaign, progress=progress)
        result = run(command, cwd=log.parent, env=env, log=log, seconds=limit, tick=tick)
    require(result, "the lab's set-up", limit)
    facts: dict[str, Any] = json.loads(out.read_text())
    return facts


def baseline_key(campaign: Campaign, facts: dict[str, Any], architecture: str) -> dict[str, Any]:
    """Everything that a baseline's scores depend on."""
    profile = campaign.profile.model_dump(mode="json", exclude={"path", "limits", "expected", "title"})
    return {
        "template": sha256((TEMPLATE / EXPERIMENT).read_bytes()),
        "architecture": architecture,
        "profile": profile,
        "evals": list(campaign.settings.evals or campaign.profile.default_evals),
        "facts": facts,
    }


def _cached(campaign: Campaign, key: dict[str, Any], architecture: str) -> Path:
    from lab.cache import entry

    def build(folder: Path) -> None:
        scratch = folder / "scratch"
        shutil.copytree(TEMPLATE, scratch, ignore=LEFT_BEHIND)
        seeds = campaign.profile.baselines.seeds
        limit = campaign.settings.run_seconds or campaign.profile.limits.run_seconds
        settings = {"architecture": architecture, **campaign.profile.baselines.settings.get(architecture, {})}
        made = []
        for number, seed in enumerate(seeds, 1):
            target = folder / f"{architecture}_seed{seed}"
            target.mkdir()
            what = f"baseline {architecture}, seed {number} of {len(seeds)}"
            with progress_file() as progress, campaign.screen.step(what, progress) as tick:
                result = run_contained(
                    campaign,
                    [sys.executable, EXPERIMENT, f"--out_dir={target}"],
                    cwd=scratch,
                    readable=[scratch],
                    writable=[target, progress.parent],
                    env=environment(campaign, seed, progress, json.dumps(settings)),
                    # In the workspace: a failed build's folder does not stay.
                    log=campaign.workspace.run_dir(0) / f"{architecture}_{seed}.log",
                    seconds=limit,
                    tick=tick,
                )
            require(result, what, limit)
            made.append(target)
        shutil.rmtree(scratch)
        log = campaign.workspace.run_dir(0) / f"{architecture}_scoring.log"
        result = evaluate(campaign, made, log, f"baseline {architecture}: scoring {len(made)} seeds")
        require(result, f"scoring the {architecture} baseline", campaign.profile.limits.score_seconds)

    return entry("baselines", key, build)
