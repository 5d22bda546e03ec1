"""The smoke run: the real experiment on a few real batches, before a run is paid for; the model is told what it saw."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.base.errors import AgentError
from agent.base.files import sha256
from agent.base.places import CODE
from agent.campaign.campaign import Campaign
from agent.campaign.events import Smoked, SmokeFailed
from agent.campaign.folder import EXPERIMENT
from agent.campaign.state import Run
from agent.compute.local import ProcessResult, tail
from agent.gates.changed import Region, never_ran, wrote
from agent.steps.train import REPORT, run_experiment

STEPS = 24
SAID = 1500
SEEN = "smoke.json"
# Frames of the traceback that are not the script's.
RUNNER = re.compile(r'^  File "(<frozen runpy>|[^"\n]*/lab/(runner|smoke|watch)\.py)".*\n(?:    .*\n)*', re.MULTILINE)


@dataclass(frozen=True)
class Known:
    """An earlier script: who it is, and its settings as Python writes them."""

    name: str
    settings: dict[str, str]


@dataclass(frozen=True)
class Found:
    """The findings of a smoke run.

    Args:
        reason: Why there will be no run; empty when there will.
        output: The findings, or the end of the output, for the model.
        weights: A hash of what each pass trained.
        settings: The script's settings, as Python writes them.
        later: Changed parts that did not run and may in the real run.
        result: How the process ended.
    """

    reason: str
    output: str
    weights: list[str]
    settings: dict[str, str]
    later: list[Region]
    result: ProcessResult


def smoke(campaign: Campaign, this: Run) -> None:
    """Try a run's newest edit on a few batches; what is found goes back to the model.

    Args:
        campaign: The campaign.
        this: The run, its newest edit not yet started.
    """
    assert this.last is not None
    folder = campaign.workspace.run_dir(this.number).with_name(f"run_{this.number}_smoke_{this.last.number}")
    campaign.workspace.restore(this.last.commit, (EXPERIMENT,))
    known = known_weights(campaign)
    # What is mended is still the whole edit since the last code that worked.
    parent = campaign.workspace.at(this.attempts[0].parent, EXPERIMENT)
    what = f"run {this.number}: smoke run"
    found = try_script(campaign, what, campaign.workspace.path, folder, parent, known, empty=True)
    seconds = round(found.result.seconds, 2)
    if not found.reason:
        shutil.rmtree(folder)
        later = [str(region) for region in found.later]
        campaign.record(
            Smoked(run=this.number, seconds=seconds, weights=found.weights, settings=found.settings, later=later)
        )
        return
    shutil.rmtree(folder / "sae", ignore_errors=True)
    campaign.record(
        SmokeFailed(
            run=this.number,
            attempt=this.last.number,
            reason=found.reason,
            output=found.output,
            seconds=seconds,
            kept=folder.name,
        )
    )
    campaign.screen.say(f"  run {this.number}: [yellow]not started[/yellow], {found.reason}")


def try_script(
    campaign: Campaign, what: str, cwd: Path, folder: Path, parent: str, known: dict[str, Known], empty: bool = False
) -> Found:
    """Run `experiment.py` of a folder on a few batches, as it would be run for real.

    Args:
        campaign: Whose profile and device count.
        what: The step, in words.
        cwd: The folder with the script.
        folder: Where it leaves what it makes.
        parent: The script before the edit; empty when there was none.
        known: Earlier scripts, by what they trained in their smoke runs.
        empty: Whether the folder is emptied first, and made where it is not there.

    Returns:
        What was found.
    """
    report, limit = folder / SEEN, campaign.profile.limits.smoke_seconds
    # Started as every run is, so that it is contained as every run is.
    given = {"SAE_LAB_SMOKE_STEPS": str(STEPS), REPORT: str(report)}
    drawn = campaign.seeds()
    seed = drawn.of_smoke_run(folder.name) if drawn else campaign.profile.baselines.seeds[0]
    result = run_experiment(campaign, folder, cwd, seed, what, seconds=limit, given=given, empty=empty)
    read = _read(report)
    if not result.ok or read is None or not read["finished"]:
        reason = result.reason(limit) if not result.ok else "it left no report"
        reason = f"the smoke run failed: {reason}"
        said = "".join(f"- {line}\n" for line in read["findings"])[: SAID // 2] if read else ""
        output = said + RUNNER.sub("", tail(result.log, 3 * SAID))[len(said) - SAID :]
        return Found(reason, output, [], {}, [], result)
    source = (cwd / EXPERIMENT).read_text(encoding="utf-8")
    idle = never_ran(parent, source, set(read["lines"])) if parent else []
    findings = read["findings"] + [str(region) for region in idle if not region.later]
    # A term that was there before may have nothing to do on few batches; one that the edit wrote should.
    findings += [said for said, line in read["idle_terms"].items() if not parent or wrote(parent, source, line)]
    later = [region for region in idle if region.later]
    same = known.get(":".join(read["weights"]))
    if same and not findings and not later and not _may_matter(read, same.settings):
        findings = [f"the change has no effect: after the same batches the SAE is that of {same.name}, bit for bit"]
    output = "\n".join(f"- {line}" for line in findings)
    reason = "the smoke run found what a run would be wasted on" if findings else ""
    return Found(reason, output[:SAID], read["weights"], read["settings"], later, result)


def _may_matter(read: dict[str, Any], others: dict[str, str]) -> bool:
    """Tell whether a setting differs that the script asks for: a threshold may matter only in a longer run."""
    return any(others.get(name) != value for name, value in read["settings"].items() if name in read["reads"])


def known_weights(campaign: Campaign) -> dict[str, Known]:
    """The weights that the template and every script that passed its smoke run left there, to their names."""
    template = _of_template(campaign)
    known = {":".join(template["weights"]): Known("the template (the baseline)", template["settings"])}
    for other in campaign.state.runs:
        for attempt in other.attempts:
            if attempt.smoke:
                before = Known(f"run_{other.number}", attempt.smoke.settings)
                known.setdefault(":".join(attempt.smoke.weights), before)
    return known


def template_weights(campaign: Campaign) -> list[str]:
    """The weights that the template's script leaves in a smoke run."""
    weights: list[str] = _of_template(campaign)["weights"]
    return weights


def _of_template(campaign: Campaign) -> dict[str, Any]:
    """The weights that the template's script leaves in a smoke run; kept in the lab's cache."""
    from lab.cache import entry

    source = campaign.workspace.at(campaign.state.template, EXPERIMENT)
    baselines = campaign.state.baselines
    given = campaign.profile.model_dump(mode="json", include={"subject", "corpus", "activations", "training"})
    code = [sha256((CODE / "lab" / name).read_bytes()) for name in ("smoke.py", "sparse.py")]
    key = {
        "experiment": sha256(source),
        "facts": baselines.conditions.get("facts") if baselines else None,
        "given": given,
        "code": code,
        # The order of sums depends on them, and weights are compared bit for bit.
        "threads": campaign.executor.threads(),
    }

    def build(folder: Path) -> None:
        (folder / EXPERIMENT).write_text(source, encoding="utf-8")
        found = try_script(campaign, "smoke run of the template", folder, folder, "", {})
        if found.reason:
            raise AgentError(f"the template does not pass its own smoke run: {found.output}")
        shutil.rmtree(folder / "sae", ignore_errors=True)
        made = {"weights": found.weights, "settings": found.settings}
        (folder / "smoked.json").write_text(json.dumps(made), encoding="utf-8")

    smoked: dict[str, Any] = json.loads(
        (entry("smoke", key, build, waiting=campaign.waiting("smoke run of the template")) / "smoked.json").read_text(
            encoding="utf-8"
        )
    )
    return smoked


def _read(report: Path) -> dict[str, Any] | None:
    try:
        read: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        return read
    except (OSError, ValueError):
        return None
