"""`notes.txt`: everything that happened, written by the loop from the ledger and the results, never edited."""

import re
from typing import Any

from agent.base.errors import AgentError
from agent.base.files import write_atomically
from agent.base.texts import render
from agent.campaign.campaign import Campaign
from agent.campaign.state import Run
from agent.campaign.workspace import EXPERIMENT
from agent.report.closing import chance_text, confirmation_text
from agent.report.judged import comparison_of, goal
from agent.report.tables import columns, headlines, metric_table, outcomes, run_table, sign, told
from agent.results.compare import Comparison
from agent.results.frontier import beside_frontier

NAME = "notes.txt"
LOG_LINES = 12


def write_notes(campaign: Campaign, commit: bool) -> None:
    """Write the notes anew; the same events give the same text.

    Args:
        campaign: The campaign.
        commit: Whether the workspace is committed with them.
    """
    state = campaign.state
    if state.baselines is None:
        return
    text = render(
        "agent.report",
        "notes.txt.j2",
        idea=campaign.idea.model_dump(),
        scripted=_scripted(campaign),
        baselines=bool(campaign.baselines),
        setting=setting(campaign),
        baseline_table=_baseline_table(campaign),
        seeds=len(campaign.profile.baselines.seeds),
        runs=[_section(campaign, run) for run in state.runs],
        goal=goal(campaign),
        overview=columns(_overview(campaign)) if state.runs else "",
        confirmation=confirmation_text(campaign),
        ended=ending(campaign),
        chance=chance_text(campaign),
        closing=told(campaign, state.closing),
        figures=(state.figures or {}).get("figures", {}),
    )
    write_atomically(campaign.workspace.path / NAME, text)
    if commit:
        newest = state.runs[-1] if state.runs else None
        about = "Baselines" if newest is None else f"run_{newest.number}: {newest.status}"
        closed = state.confirmation is not None and state.confirmation.closed
        campaign.workspace.commit_notes("figures" if state.figures else "confirmation" if closed else about)


def check_notes(campaign: Campaign) -> None:
    """See that the notes hold everything that the ledger says was tried; read from the files, not from memory.

    Args:
        campaign: The campaign, its notes written.

    Raises:
        AgentError: A run, a failed attempt or a confirmation is not in them; each is named.
    """
    events = campaign.workspace.ledger.events
    if campaign.state.baselines is None:
        return
    text = campaign.workspace.read(NAME)
    flat = " ".join(text.split())
    missing = []
    for number in sorted({event.data["run"] for event in events if event.data.get("run")}):
        if not re.search(rf"^## Run {number}: .", text, re.MULTILINE):
            missing.append(f"run_{number}")
        elif not re.search(rf"^run_{number} ", text, re.MULTILINE):
            missing.append(f"run_{number} in the table of all runs")
    for run in campaign.state.runs:
        for attempt in run.attempts:
            reason = " ".join(str((attempt.failure or {}).get("reason", "")).split())
            if reason not in flat:
                missing.append(f"run_{run.number}, attempt {attempt.number}: {reason}")
    plan = campaign.state.confirmation
    if plan and plan.closed and "\n## Confirmation\n" not in text:
        missing.append("the confirmation")
    if missing:
        raise AgentError(f"{NAME} lacks what the ledger has ({'; '.join(missing)}); resume to write it anew")


def _scripted(campaign: Campaign) -> str:
    if campaign.settings.model.startswith("replay:"):
        return "The replies of this campaign were written beforehand (a script); its numbers were measured here.\n"
    return f"Model: {campaign.settings.model}\n"


def setting(campaign: Campaign) -> str:
    """Subject model, sizes, training and seeds, in two sentences."""
    profile, record = campaign.profile, next(iter(campaign.baselines.values())).runs[0].training
    seeds = profile.baselines.seeds
    return (
        f"Profile {profile.name}: {profile.subject.name}, residual stream after layer {profile.subject.layer}; "
        f"d_sae {profile.training.d_sae}, k {profile.training.k}, {record.get('tokens')} training tokens in "
        f"{record.get('steps')} steps of {record.get('batch_size')}; trained on {record.get('device')}. "
        f"Baselines with seeds {', '.join(map(str, seeds))}, runs with seed {seeds[0]}.\n"
    )


def _baseline_table(campaign: Campaign) -> str:
    groups = campaign.baselines
    rows = [["metric", "", *groups]]
    for name in headlines(campaign):
        values = [group.lookup(name) for group in groups.values()]
        first = next((value for value in values if value), None)
        if first:
            rows.append([name, sign(first), *(str(value) if value else "" for value in values)])
    return columns(rows)


def _section(campaign: Campaign, run: Run) -> dict[str, Any]:
    scored = run.status == "scored"
    comparison = comparison_of(campaign, run) if scored else None
    last = run.last
    era = last.era if last and scored else None
    return {
        "number": run.number,
        "title": last.change if last else "no edit was taken",
        "status": _status(run),
        "parent": _parent(campaign, run),
        "change_diff": diff_summary(campaign, run),
        "settings": changed_settings(campaign, run) if scored else "",
        "confounds": "; ".join(map(str, comparison.confounds)) if comparison else "",
        "against": _against(comparison) if comparison else "",
        "frontier": beside_frontier(comparison, campaign.grid(era), goal(campaign)) if comparison else "",
        "table": metric_table(campaign, run, comparison, headlines(campaign)) if comparison else "",
        "predictions": outcomes(run, comparison) if comparison else [],
        "prediction": told(campaign, last.prediction, era)
        if last and not (comparison and last.predictions)
        else _why(campaign, run),
        "troubles": _troubles(run),
        "log": _log(run),
        "analysis": told(campaign, run.analysis, era),
    }


def _against(comparison: Comparison) -> str:
    """What the verdicts are against, and what that means where none are given."""
    name = comparison.baseline.name
    seeds = ", ".join(str(run.seed) for run in comparison.baseline.runs)
    if not comparison.comparable:
        return f"{name} (seeds {seeds}): not comparable, whatever the scores"
    improved = any(row.verdict == "improved" for row in comparison.rows if row.value.headline)
    result = "" if improved else "; no headline metric improved, which is a result"
    return f"{name} (seeds {seeds}){result}"


def _status(run: Run) -> str:
    if run.status == "scored" and run.last and run.last.ran and run.last.score:
        return f"scored; training {run.last.ran['seconds']:.0f} s, scoring {run.last.score['seconds']:.0f} s"
    return f"{run.status}; {run.given_up}" if run.given_up else run.status


def _why(campaign: Campaign, run: Run) -> str:
    """What a prediction says besides its metric lines."""
    if run.last is None:
        return ""
    named = {said.metric for said in run.last.predictions}
    lines = [
        line for line in run.last.prediction.splitlines() if not any(line.strip().startswith(name) for name in named)
    ]
    return told(campaign, "\n".join(lines).strip())


def _parent(campaign: Campaign, run: Run) -> str:
    """What a run's code was changed from: the last run that worked, through all its attempts."""
    before = [other for other in campaign.state.scored if other.number < run.number]
    return f"run_{before[-1].number}" if before else "the template"


def diff_summary(campaign: Campaign, run: Run) -> str:
    """How large a run's change is, through all its attempts, and how to see it."""
    if run.last is None:
        return ""
    first = run.attempts[0].parent
    diff = campaign.workspace.diff(first, run.last.commit, (EXPERIMENT,)).splitlines()
    added = sum(line.startswith("+") and not line.startswith("+++") for line in diff)
    removed = sum(line.startswith("-") and not line.startswith("---") for line in diff)
    return f"{EXPERIMENT}, +{added} -{removed} lines (git diff {first[:8]} {run.last.commit[:8]})"


def changed_settings(campaign: Campaign, run: Run) -> str:
    """The settings that differ from the baseline's, or that only this run has."""
    record = campaign.result(run.number).training
    base = next(iter(campaign.baselines.values())).runs[0].training.get("settings", {})
    changed = {key: value for key, value in record.get("settings", {}).items() if base.get(key) != value}
    text = ", ".join(f"{key}={value}" for key, value in changed.items())
    return text or "as the baseline's"


def _troubles(run: Run) -> list[str]:
    lines = [f"a reply was refused ({refusal.kind}): {_first_line(refusal.feedback)}" for refusal in run.refused]
    for attempt in run.attempts:
        if attempt.failure:
            if attempt.failure.get("smoke"):
                said = "; ".join(line.removeprefix("- ") for line in attempt.failure["output"].splitlines()[-3:])
                kept = f"{attempt.failure['kept']}/log.txt"
                told = f"{attempt.failure['reason']}: {said[:300]}"
                lines.append(f"attempt {attempt.number} ({attempt.change}) was not started: {told} ({kept})")
                continue
            last = _last_line(attempt.failure["output"])
            kept = f"{attempt.failure['kept']}/log.txt"
            lines.append(
                f"attempt {attempt.number} ({attempt.change}) failed: {attempt.failure['reason']}; {last} ({kept})"
            )
        if attempt.ran and attempt.ran.get("idle"):
            lines.append(f"changed code that never ran: {'; '.join(attempt.ran['idle'])}")
    return lines


def _log(run: Run) -> list[str]:
    """The end of the output of a run that came to nothing."""
    failures = [attempt.failure for attempt in run.attempts if attempt.failure]
    if run.status != "failed" or not failures:
        return []
    return str(failures[-1]["output"]).strip().splitlines()[-LOG_LINES:]


def _overview(campaign: Campaign) -> list[list[str]]:
    header, rows = run_table(campaign, campaign.state.runs, attempts=True)
    return [header, *rows]


def ending(campaign: Campaign) -> str:
    """How many runs were scored and why there are no more; nothing while the campaign goes on."""
    state = campaign.state
    if state.ended:
        return f"{len(state.scored)} of {len(state.runs)} runs were scored; {state.ended}."
    if len(state.runs) >= state.settings.max_runs and state.open_run is None:
        return f"{len(state.scored)} of {len(state.runs)} runs were scored; all runs allowed were made."
    return ""


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0][:200]


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1][:200]
