"""Results as text: the table of runs for a prompt, a run's table for the notes, the final table for the screen."""

from agent.campaign.record import Record
from agent.campaign.state import Run
from agent.results.compare import MARKS, Comparison, Row
from agent.results.predictions import outcome
from agent.results.read import Value, shown
from agent.results.references import fill

# What the table of all runs shows, where it was scored; the last run is shown in full.
BRIEF = (
    "core.explained_variance",
    "core.delta_ce",
    "core.l0",
    "absorption.mean_absorption_fraction_score",
    "absorption.mean_letter_f1",
)


def sign(value: Value) -> str:
    """`(+)`, `(-)` or nothing: which way is better."""
    return {"higher": "(+)", "lower": "(-)", None: ""}[value.better]


def headlines(record: Record) -> list[str]:
    """The metrics that tables show first; all of them where no evaluation marks any."""
    group = record.baseline
    marked = [name for name, value in group.metrics.items() if value.headline]
    return marked or list(group.metrics)


def brief(record: Record) -> list[str]:
    """The few metrics of a table with a line for each run."""
    names = headlines(record)
    return [name for name in BRIEF if name in names] or names[: len(BRIEF)]


def short(name: str) -> str:
    """A metric's name for the head of a column: without its evaluation, `mean_` and `_score`."""
    return name.partition(".")[2].removeprefix("mean_").removesuffix("_score")


def one_line_table(record: Record, runs: list[Run]) -> str:
    """All runs, a line each: a few scores, each with its verdict.

    Args:
        record: The campaign.
        runs: The runs to show, below the baselines.

    Returns:
        A table in Markdown.
    """
    header, rows = run_table(record, runs)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in lines)


def run_table(record: Record, runs: list[Run], attempts: bool = False) -> tuple[list[str], list[list[str]]]:
    """Baselines and runs with a few scores: the head of the table, and its rows.

    Args:
        record: The campaign.
        runs: The runs to show.
        attempts: Whether attempts that failed and were mended have lines of their own.
    """
    names = brief(record)
    first = record.baseline
    header = ["run", *(f"{short(name)} {sign(first.metrics[name])}".strip() for name in names), "change"]
    blank = [""] * len(names)
    rows = [
        [name, *(str(group.lookup(metric) or "") for metric in names), "baseline"]
        for name, group in record.groups().items()
    ]
    for run in runs:
        name, change = f"run_{run.number}", run.last.change if run.last else ""
        if attempts:
            rows += [
                [f"{name}, attempt {attempt.number}", *blank, f"failed: {attempt.failure.reason}"]
                for attempt in run.attempts
                if attempt.failure
            ]
        if run.status == "scored":
            comparison = record.verdict(run)
            rows.append([name, *(_cell(comparison.row(metric)) for metric in names), change + _aside(comparison)])
        else:
            rows.append([name, *blank, f"{run.status}: {change or run.given_up}"])
    return header, rows


def summary(record: Record, run: Run) -> str:
    """A scored run in one line for the screen: a few scores, each with its verdict."""
    comparison = record.verdict(run)
    scores = ", ".join(f"{short(name)} {_cell(comparison.row(name))}" for name in brief(record))
    return f"run {run.number}: {scores} (against {comparison.baseline.name})"


def detail(record: Record, run: Run) -> str:
    """A scored run for a prompt: change, confounds, prediction with its outcome, all headline scores."""
    assert run.last is not None
    comparison = record.verdict(run)
    base = comparison.baseline.name
    lines = [f"run_{run.number}: {run.last.change}"]
    if run.last.ran:
        lines.append(f"Training took {run.last.ran.seconds:.0f} s.")
    if comparison.confounds:
        lines.append(f"Confounds: {'; '.join(map(str, comparison.confounds))}")
    lines += [f"Predicted {line}" for line in outcomes(run, comparison)]
    lines += asked_text(record, comparison)
    quiet: dict[str, list[str]] = {"no effect": [], "undecided": [], "within noise": []}
    for row in (comparison.row(name) for name in headlines(record)):
        if row is None or row.metric == record.goal:
            continue
        if row.verdict in quiet:
            quiet[row.verdict].append(f"{row.metric} {row.value}")
        else:
            effect, verdict = change_cells(row)
            beside = f"{row.against or base} {row.baseline}{', ' if effect else ''}{effect}"
            lines.append(f"{row.metric} {sign(row.value)} {row.value} ({beside}): {verdict}".replace("  ", " "))
    lines += [f"Beside {base}, {verdict}: {', '.join(rows)}" for verdict, rows in quiet.items() if rows]
    lines += _beside_earlier(record, run)
    return "\n".join(lines)


def baseline_detail(record: Record) -> str:
    """The baselines for the first prompt: all headline scores, a line each."""
    lines = []
    for name in headlines(record):
        values = {group.name: group.lookup(name) for group in record.baselines.values()}
        known = [f"{architecture} {value}" for architecture, value in values.items() if value]
        first = next(value for value in values.values() if value)
        lines.append(f"{name} {sign(first)} {', '.join(known)}".replace("  ", " "))
    return "\n".join(lines)


def metric_table(record: Record, run: Run, comparison: Comparison, names: list[str]) -> str:
    """A run's scores beside all baselines, in columns of equal width.

    Args:
        record: The campaign.
        run: The run.
        comparison: The run beside the baseline it is judged against.
        names: The metrics, in their order.

    Returns:
        The table; the first verdict is against `comparison.baseline`, the second against the best earlier run.
    """
    assert run.last is not None
    base = comparison.baseline
    valid = record.valid_groups(run)
    groups = [group for name, group in valid.items() if name in record.baselines or name == base.name]
    others = [found for found in (comparison, record.beside_earlier(run)) if found]
    header = ["metric", "", comparison.run.name, *(group.name for group in groups)]
    for found in others:
        header += [f"change against {found.baseline.name}", "verdict"]
    rows = [header]
    for name in names:
        row = comparison.row(name)
        if row is None:
            continue
        values = [group.lookup(name) for group in groups]
        cells = [name, sign(row.value), str(row.value), *(str(value) if value else "" for value in values)]
        for found in others:
            cells += change_cells(found.row(name))
        rows.append(cells)
    return columns(rows)


def outcomes(run: Run, comparison: Comparison) -> list[str]:
    """Each line of a prediction beside what came."""
    assert run.last is not None
    lines = []
    for said in run.last.predictions:
        size = "" if said.low is None else f" by {said.low:g}" + (f" to {said.high:g}" if said.high is not None else "")
        row = comparison.row(said.metric)
        came = "not scored" if row is None or row.delta is None else f"changed by {shown(row.delta)}, {row.verdict}"
        lines.append(f"{said.metric} {said.direction}{size}: {outcome(said, comparison)} ({came})")
    return lines


def columns(rows: list[list[str]]) -> str:
    """Rows of cells as aligned text."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    made = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    made.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(made)


def told(record: Record, text: str, of: Run | int | None = None) -> str:
    """A text of the model, its references filled in; those to baselines as they were for the run it speaks of."""
    return fill(text, lambda source, metric: record.lookup(source, metric, of))


def change_cells(row: Row | None) -> list[str]:
    """Two cells: the effect with half the width of its 95% interval, and the verdict."""
    if row is None or row.delta is None:
        return ["", row.verdict if row else ""]
    interval = "" if row.margin is None else f" (±{shown(row.margin)})"
    beside = f" (beside {row.against})" if row.against else ""
    return [f"{'+' if row.delta >= 0 else ''}{shown(row.delta)}{interval}", row.verdict + beside]


def asked_text(record: Record, comparison: Comparison) -> list[str]:
    """A line for the goal and each guard of a run: the effect, and what came of it."""
    if record.settings.goal is None:  # as in campaigns of version 0.1.0
        return []
    lines = []
    if row := comparison.row(record.goal):
        effect, verdict = change_cells(row)
        lines.append(f"Goal {row.metric} {sign(row.value)}: {effect or row.value}: {verdict}{_could_be_seen(row)}")
    lines += _seeds_of(record, comparison)
    for guard in record.guards(comparison):
        effect = change_cells(guard.row)[0] or "no score"
        lines.append(f"Guard {guard.metric}, may get worse by {shown(guard.margin)}: {effect}: {guard.state}")
    return lines


def _seeds_of(record: Record, comparison: Comparison) -> list[str]:
    """A line for the seeds that a run has, and why it gets more or no more."""
    run = next((run for run in record.state.scored if run.name == comparison.run.name), None)
    look = run.last.look if run and run.last else None
    if look is None:
        return []
    of = f" of {look.wanted}" if look.wanted > look.seeds else ""
    return [f"Seeds: {look.seeds}{of}; {look.reason}"]


def _could_be_seen(row: Row) -> str:
    """Said of an effect that was not seen: how large one would have been, and what would settle it."""
    if row.verdict == "no effect":
        return f"; none larger than {shown(row.smallest)}"
    if row.verdict != "undecided" or row.detectable is None:
        return ""
    needed = f"{row.seeds} seeds of each" if row.seeds else "more than 1,000 seeds of each"
    return (
        f"; one of {shown(row.detectable)} would have been seen with a chance of 80%, for one of "
        f"{shown(row.smallest)} it takes {needed}"
    )


def _beside_earlier(record: Record, run: Run) -> list[str]:
    """One line: the run beside the best before it, where anything can be said of it."""
    found = record.beside_earlier(run)
    if found is None:
        return []
    best = f"Against {found.baseline.name}, the best before it in {record.goal}"
    if not found.comparable:
        return [f"{best}: not comparable ({'; '.join(str(item) for item in found.confounds if item.blocks)})"]
    rows = [row for name in headlines(record) if (row := found.row(name)) and row.verdict in ("improved", "worse")]
    said = ", ".join(f"{row.metric} {' '.join(change_cells(row))}" for row in rows)
    return [f"{best}: {said or 'nothing improved or worse'}"]


def _aside(comparison: Comparison) -> str:
    """Named where a run is judged against another baseline than its architecture's own."""
    name = comparison.baseline.name
    return "" if name == comparison.run.architecture else f" [against {name}]"


def _cell(row: Row | None) -> str:
    return "" if row is None else f"{shown(row.value.value)} {MARKS.get(row.verdict, row.verdict)}".strip()
