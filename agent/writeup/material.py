"""Material for a writer: the fixed part of every prompt, and the facts of single sections."""

import json
from collections.abc import Callable

from agent.audit.evidence import NOISE, Evidence
from agent.base.texts import render
from agent.campaign.folder import EXPERIMENT
from agent.campaign.record import Record
from agent.campaign.state import Run
from agent.dialogue.prompt import ARROWS
from agent.report.closing import chance_text, confirmation_text
from agent.report.notes import changed_settings, setting
from agent.report.tables import detail, headlines, one_line_table, told
from agent.results.read import shown
from agent.writeup.paper import Paper
from lab.errors import LabError

DIFF_SHOWN = 4000


def fixed_part(record: Record, paper: Paper) -> Callable[[], str]:
    """The fixed part of the prompts, the same in every turn; only what may be cited can grow.

    Args:
        record: The campaign.
        paper: The paper under way.
    """
    state = record.state
    captions = record.state.figures or {}
    known = {
        "idea": record.idea,
        "arrows": ARROWS,
        "setting": setting(record).strip(),
        "table": one_line_table(record, record.state.runs),
        "baseline": next(iter(record.baselines)),
        "noise": _noise(record, paper.evidence),
        "details": "\n\n".join(_run(record, run) for run in record.state.scored),
        "closing": "\n\n".join(
            filter(
                None,
                [*confirmation_text(record), chance_text(record), told(record, state.closing, state.closing_set)],
            )
        ),
        "figures": {f"figures/{name}": captions.get(f"{name}.png", "") for name in paper.figures},
        "null": paper.null,
    }

    def made() -> str:
        return render("agent.writeup", "prompts/system.md.j2", keys=", ".join(paper.bibliography), **known)

    return made


def facts(record: Record, evidence: Evidence) -> dict[str, str]:
    """The facts of single sections besides the fixed part, by the section's name.

    Args:
        record: The campaign.
        evidence: The same, gathered.
    """
    code = [f"# The code that the runs started from, the baseline's\n\n```python\n{evidence.template}```"]
    code.append("# What each run changed, against the run before it")
    for run in record.state.scored:
        if run.last:
            diff = record.folder.diff(run.attempts[0].parent, run.last.commit, (EXPERIMENT,))
            code.append(f"run_{run.number}: {run.last.change}\n```diff\n{diff[:DIFF_SHOWN]}\n```")
    return {"method": "\n\n".join(code), "setup": _profile(record)}


def _run(record: Record, run: Run) -> str:
    """A run's change, settings and scores, and what was made of it at the time."""
    lines = [detail(record, run), f"Settings beside the baseline's: {changed_settings(record, run)}"]
    failed = sum(attempt.failure is not None for attempt in run.attempts)
    if failed:
        lines.append(f"Attempts that failed before it ran: {failed}")
    if run.analysis:
        lines.append(f"Analysis at the time: {told(record, run.analysis, run if run.last else None)}")
    return "\n".join(lines)


def _noise(record: Record, evidence: Evidence) -> str:
    """The half width of the interval of one new run of the baseline, metric by metric."""
    known = {name: evidence.lookup(NOISE, name) for name in headlines(record)}
    return ", ".join(f"{name} ±{shown(value.value)}" for name, value in known.items() if value)


def _profile(record: Record) -> str:
    """The settings of data, training and evaluations; nothing where the profile is no longer there."""
    try:
        profile = record.profile
    except LabError:
        return ""
    tree = json.loads(profile.model_dump_json())
    scored = {name.partition(".")[0] for group in record.baselines.values() for name in group.metrics}
    parts = {part: tree[part] for part in ("subject", "corpus", "training", "baselines") if part in tree}
    parts["evals"] = {name: tree["evals"].get(name, {}) for name in sorted(scored)}
    return f"# The profile's settings\n\n{json.dumps(parts)}"
