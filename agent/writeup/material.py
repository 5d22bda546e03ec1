"""What a writer is given of a campaign: the fixed part of every prompt, and what single sections are written from."""

import json
from collections.abc import Callable

from agent.audit.evidence import NOISE, Evidence
from agent.base.texts import render
from agent.campaign.campaign import Campaign
from agent.campaign.state import Run
from agent.campaign.workspace import EXPERIMENT
from agent.dialogue.prompt import ARROWS
from agent.report.closing import chance_text, confirmation_text
from agent.report.notes import changed_settings, setting
from agent.report.tables import detail, headlines, one_line_table, told
from agent.results.read import shown
from agent.writeup.paper import Paper
from lab.errors import LabError

DIFF_SHOWN = 4000


def fixed_part(campaign: Campaign, paper: Paper) -> Callable[[], str]:
    """The fixed part of the prompts, the same in every turn; only what may be cited can grow.

    Args:
        campaign: The campaign.
        paper: The paper under way.
    """
    captions = (campaign.state.figures or {}).get("figures", {})
    known = {
        "idea": campaign.idea,
        "arrows": ARROWS,
        "setting": setting(campaign).strip(),
        "table": one_line_table(campaign, campaign.state.runs),
        "baseline": next(iter(campaign.baselines)),
        "noise": _noise(campaign, paper.evidence),
        "details": "\n\n".join(_run(campaign, run) for run in campaign.state.scored),
        "closing": "\n\n".join(
            filter(None, [*confirmation_text(campaign), chance_text(campaign), told(campaign, campaign.state.closing)])
        ),
        "figures": {f"figures/{name}": captions.get(f"{name}.png", "") for name in paper.figures},
        "null": paper.null,
    }

    def made() -> str:
        return render("agent.writeup", "prompts/system.md.j2", keys=", ".join(paper.bibliography), **known)

    return made


def facts(campaign: Campaign, evidence: Evidence) -> dict[str, str]:
    """What single sections are written from besides the fixed part, by the section's name.

    Args:
        campaign: The campaign.
        evidence: The same, gathered.
    """
    code = [f"# The code that the runs started from, the baseline's\n\n```python\n{evidence.template}```"]
    code.append("# What each run changed, against the run before it")
    for run in campaign.state.scored:
        if run.last:
            diff = campaign.workspace.diff(run.attempts[0].parent, run.last.commit, (EXPERIMENT,))
            code.append(f"run_{run.number}: {run.last.change}\n```diff\n{diff[:DIFF_SHOWN]}\n```")
    return {"method": "\n\n".join(code), "setup": _profile(campaign)}


def _run(campaign: Campaign, run: Run) -> str:
    """A run's change, settings and scores, and what was made of it at the time."""
    lines = [detail(campaign, run), f"Settings beside the baseline's: {changed_settings(campaign, run)}"]
    failed = sum(attempt.failure is not None for attempt in run.attempts)
    if failed:
        lines.append(f"Attempts that failed before it ran: {failed}")
    if run.analysis:
        lines.append(f"Analysis at the time: {told(campaign, run.analysis, run.last.era if run.last else None)}")
    return "\n".join(lines)


def _noise(campaign: Campaign, evidence: Evidence) -> str:
    """How far one new run of the baseline may lie from its mean, metric by metric."""
    known = {name: evidence.lookup(NOISE, name) for name in headlines(campaign)}
    return ", ".join(f"{name} ±{shown(value.value)}" for name, value in known.items() if value)


def _profile(campaign: Campaign) -> str:
    """The settings of data, training and evaluations; nothing where the profile is no longer there."""
    try:
        profile = campaign.profile
    except LabError:
        return ""
    tree = json.loads(profile.model_dump_json())
    scored = {name.partition(".")[0] for group in campaign.baselines.values() for name in group.metrics}
    parts = {part: tree[part] for part in ("subject", "corpus", "training", "baselines") if part in tree}
    parts["evals"] = {name: tree["evals"].get(name, {}) for name in sorted(scored)}
    return f"# The profile's settings\n\n{json.dumps(parts)}"
