"""`notes.txt`: everything that happened, written by the loop from the ledger and the results, never edited."""

import re
from collections.abc import Sequence
from typing import Any

from agent.base.errors import AgentError
from agent.base.texts import render
from agent.campaign.events import Confirming, Refused, RunEvent, SmokeFailed
from agent.campaign.folder import EXPERIMENT
from agent.campaign.record import Record
from agent.campaign.state import Run
from agent.report.closing import chance_text, confirmation_text
from agent.report.tables import asked_text, columns, headlines, metric_table, outcomes, run_table, sign, told
from agent.results.compare import Comparison
from agent.results.frontier import beside_frontier

NAME = "notes.txt"
LOG_LINES = 12


def notes_text(record: Record) -> str:
    """Make the notes anew; the same events give the same text.

    Args:
        record: The campaign's, with baselines.
    """
    state = record.state
    return render(
        "agent.report",
        "notes.txt.j2",
        idea=record.idea.model_dump(),
        scripted=_scripted(record),
        baselines=bool(record.baselines),
        setting=setting(record),
        baseline_table=_baseline_table(record),
        seeds=_seeds_of_baselines(record),
        runs=[_section(record, run) for run in state.runs],
        goal=record.goal,
        overview=columns(_overview(record)) if state.runs else "",
        confirmation=confirmation_text(record),
        ended=ending(record),
        chance=chance_text(record),
        closing=told(record, state.closing, state.closing_set),
        figures=state.figures or {},
    )


def check_notes(record: Record) -> None:
    """See that the notes hold everything that the ledger says was tried; read from the files, not from memory.

    Args:
        record: The campaign, its notes written.

    Raises:
        AgentError: A run, a failed attempt or a confirmation is not in them; each is named.
    """
    events = record.folder.ledger.events
    if record.state.baselines is None:
        return
    text = record.folder.read(NAME)
    flat = " ".join(text.split())
    missing = []
    about = (event.run for event in events if isinstance(event, RunEvent | Refused | Confirming))
    for number in sorted({number for number in about if number is not None}):
        if not re.search(rf"^## Run {number}: .", text, re.MULTILINE):
            missing.append(f"run_{number}")
        elif not re.search(rf"^run_{number} ", text, re.MULTILINE):
            missing.append(f"run_{number} in the table of all runs")
    for run in record.state.runs:
        for attempt in run.attempts:
            reason = " ".join(attempt.failure.reason.split()) if attempt.failure else ""
            if reason not in flat:
                missing.append(f"run_{run.number}, attempt {attempt.number}: {reason}")
    plan = record.state.confirmation
    if plan and plan.closed and "\n## Confirmation\n" not in text:
        missing.append("the confirmation")
    if missing:
        raise AgentError(f"{NAME} lacks what the ledger has ({'; '.join(missing)}); resume to write it anew")


def _scripted(record: Record) -> str:
    if record.settings.model.startswith("replay:"):
        return "The replies of this campaign were written beforehand (a script); its numbers were measured here.\n"
    return f"Model: {record.settings.model}\n"


def setting(record: Record) -> str:
    """Subject model, sizes, training and seeds, in two sentences."""
    profile, training = record.profile, record.baseline.runs[0].training
    return (
        f"Profile {profile.name}: {profile.subject.name}, residual stream after layer {profile.subject.layer}; "
        f"d_sae {profile.training.d_sae}, k {profile.training.k}, {training.get('tokens')} training tokens in "
        f"{training.get('steps')} steps of {training.get('batch_size')}; trained on {training.get('device')}. "
        f"{_seeds_told(record)}, {_seeds_of_runs(record)}.\n"
    )


def _seeds_told(record: Record) -> str:
    """The seeds of the profile's baselines; once where all have the same."""
    told = {name: ", ".join(str(run.seed) for run in group.runs) for name, group in record.baselines.items()}
    if len(set(told.values())) == 1:
        return f"Baselines with seeds {next(iter(told.values()))}"
    return "Baselines: " + "; ".join(f"{name} with seeds {seeds}" for name, seeds in told.items())


def _seeds_of_baselines(record: Record) -> str:
    """The number of seeds of the profile's baselines, in words."""
    counts = {name: len(group.runs) for name, group in record.baselines.items()}
    if len(set(counts.values())) == 1:
        return f"{next(iter(counts.values()))} seeds"
    return f"seeds ({', '.join(f'{count} of {name}' for name, count in counts.items())})"


def _seeds_of_runs(record: Record) -> str:
    if record.state.commitment:
        return "each run with a seed of its own that was drawn before there was any code"
    return f"runs with seed {record.profile.baselines.seeds[0]}"


def _baseline_table(record: Record) -> str:
    groups = record.baselines
    rows = [["metric", "", *groups]]
    for name in headlines(record):
        values = [group.lookup(name) for group in groups.values()]
        first = next((value for value in values if value), None)
        if first:
            rows.append([name, sign(first), *(str(value) if value else "" for value in values)])
    return columns(rows)


def _section(record: Record, run: Run) -> dict[str, Any]:
    scored = run.status == "scored"
    comparison = record.verdict(run) if scored else None
    last = run.last
    baseline_set = last.baseline_set if last and scored else None
    return {
        "number": run.number,
        "title": last.change if last else "no edit was taken",
        "status": _status(run),
        "parent": _parent(record, run),
        "change_diff": diff_summary(record, run),
        "settings": changed_settings(record, run) if scored else "",
        "confounds": "; ".join(map(str, comparison.confounds)) if comparison else "",
        "against": _against(comparison) if comparison else "",
        "frontier": beside_frontier(comparison, record.grid(baseline_set), record.goal) if comparison else "",
        "asked": asked_text(record, comparison) if comparison else [],
        "table": metric_table(record, run, comparison, headlines(record)) if comparison else "",
        "predictions": outcomes(run, comparison) if comparison else [],
        "prediction": expectation(record, run),
        "troubles": troubles(run),
        "log": output_end(run),
        "analysis": told(record, run.analysis, run if scored else None),
        "referee": referee_lines(run),
    }


def _against(comparison: Comparison) -> str:
    """The baseline of the verdicts, and a word where it gives none."""
    name = comparison.baseline.name
    seeds = ", ".join(str(run.seed) for run in comparison.baseline.runs)
    if not comparison.comparable:
        return f"{name} (seeds {seeds}): not comparable, whatever the scores"
    improved = any(row.verdict == "improved" for row in comparison.rows if row.value.headline)
    result = "" if improved else "; no headline metric improved, which is a result"
    return f"{name} (seeds {seeds}){result}"


def _status(run: Run) -> str:
    if run.status == "scored" and run.last and run.last.ran and run.last.score:
        return f"scored; training {run.last.ran.seconds:.0f} s, scoring {run.last.score.seconds:.0f} s"
    return f"{run.status}; {run.given_up}" if run.given_up else run.status


def expectation(record: Record, run: Run) -> str:
    """A run's prediction as it was said; without its metric lines where their outcomes are given."""
    last = run.last
    if last is None:
        return ""
    if run.status != "scored" or not last.predictions:
        return told(record, last.prediction, run if run.status == "scored" else None)
    named = {said.metric for said in last.predictions}
    lines = [line for line in last.prediction.splitlines() if not any(line.strip().startswith(n) for n in named)]
    return told(record, "\n".join(lines).strip())


def _parent(record: Record, run: Run) -> str:
    """The code that a run's was changed from: the last run that worked, through all its attempts."""
    before = [other for other in record.state.scored if other.number < run.number]
    return f"run_{before[-1].number}" if before else "the template"


def diff_summary(record: Record, run: Run) -> str:
    """The size of a run's change, through all its attempts, and the command that shows it."""
    if run.last is None:
        return ""
    first = run.attempts[0].parent
    diff = record.folder.diff(first, run.last.commit, (EXPERIMENT,)).splitlines()
    added = sum(line.startswith("+") and not line.startswith("+++") for line in diff)
    removed = sum(line.startswith("-") and not line.startswith("---") for line in diff)
    return f"{EXPERIMENT}, +{added} -{removed} lines (git diff {first[:8]} {run.last.commit[:8]})"


def changed_settings(record: Record, run: Run) -> str:
    """The settings that differ from the baseline's, or that only this run has."""
    training = record.result(run.number).training
    base = record.baseline.runs[0].training.get("settings", {})
    changed = {key: value for key, value in training.get("settings", {}).items() if base.get(key) != value}
    text = ", ".join(f"{key}={value}" for key, value in changed.items())
    return text or "as the baseline's"


def troubles(run: Run) -> list[str]:
    """The events on the way to a run, a line each: replies refused, attempts that failed, code that never ran."""
    lines = [f"a reply was refused ({refusal.kind}): {_first_line(refusal.feedback)}" for refusal in run.refused]
    for attempt in run.attempts:
        if attempt.failure:
            if isinstance(attempt.failure, SmokeFailed):
                said = "; ".join(line.removeprefix("- ") for line in attempt.failure.output.splitlines()[-3:])
                kept = f"{attempt.failure.kept}/log.txt"
                told = f"{attempt.failure.reason}: {said[:300]}"
                lines.append(f"attempt {attempt.number} ({attempt.change}) was not started: {told} ({kept})")
                continue
            last = _last_line(attempt.failure.output)
            kept = f"{attempt.failure.kept}/log.txt"
            lines.append(
                f"attempt {attempt.number} ({attempt.change}) failed: {attempt.failure.reason}; {last} ({kept})"
            )
        if attempt.ran and attempt.ran.idle:
            lines.append(f"changed code that never ran: {'; '.join(attempt.ran.idle)}")
    return lines


def referee_lines(run: Run) -> list[str]:
    """The referee's name and cost, and its findings, a line each; none where no referee read the run."""
    read = run.last.refereed if run.last else None
    if read is None:
        return []
    return referee_told(read.model, read.tokens, read.dollars, read.findings, read.failure)


def referee_told(model: str, tokens: int, dollars: float | None, findings: Sequence[str], failure: str) -> list[str]:
    """Say in lines what a referee found: who it is and its cost, then a line for each finding."""
    cost = "price unknown" if dollars is None else f"${dollars:.3f}"
    return [f"{model}, {tokens:,} tokens, {cost}; decides nothing", *(findings or [failure or "nothing found"])]


def output_end(run: Run) -> list[str]:
    """The end of the output of a run that came to nothing."""
    failures = [attempt.failure for attempt in run.attempts if attempt.failure]
    if run.status != "failed" or not failures:
        return []
    return failures[-1].output.strip().splitlines()[-LOG_LINES:]


def _overview(record: Record) -> list[list[str]]:
    header, rows = run_table(record, record.state.runs, attempts=True)
    return [header, *rows]


def ending(record: Record) -> str:
    """The number of scored runs and why there are no more; nothing while the campaign goes on."""
    state = record.state
    if state.ended:
        return f"{len(state.scored)} of {len(state.runs)} runs were scored; {state.ended}."
    if len(state.runs) >= state.settings.max_runs and state.open_run is None:
        return f"{len(state.scored)} of {len(state.runs)} runs were scored; all runs allowed were made."
    return ""


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0][:200]


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1][:200]
