"""Results as text: the table of runs for a prompt, a run's table for the notes, the final table for the screen."""

from agent.campaign import Campaign
from agent.references import fill
from agent.report.compare import Comparison, Row, compare, judge, primary
from agent.report.results import RunResult, Value, shown
from agent.state import Run

# What the table of all runs shows, where it was scored; the last run is shown in full.
BRIEF = (
    "core.explained_variance",
    "core.delta_ce",
    "core.l0",
    "absorption.mean_absorption_fraction_score",
    "absorption.mean_letter_f1",
)
MARKS = {"improved": "improved", "worse": "worse", "within noise": "~", "changed": "changed", "not comparable": "n/c"}


def sign(value: Value) -> str:
    """`(+)`, `(-)` or nothing: which way is better."""
    return {"higher": "(+)", "lower": "(-)", None: ""}[value.better]


def headlines(campaign: Campaign) -> list[str]:
    """The metrics that tables show first; all of them where no evaluation marks any."""
    group = next(iter(campaign.baselines.values()))
    marked = [name for name, value in group.metrics.items() if value.headline]
    return marked or list(group.metrics)


def brief(campaign: Campaign) -> list[str]:
    """The few metrics of a table with a line for each run."""
    names = headlines(campaign)
    return [name for name in BRIEF if name in names] or names[: len(BRIEF)]


def short(name: str) -> str:
    """A metric's name for the head of a column: without its evaluation, `mean_` and `_score`."""
    return name.partition(".")[2].removeprefix("mean_").removesuffix("_score")


def comparison_of(campaign: Campaign, result: RunResult) -> Comparison:
    """A run beside the baseline it is judged against."""
    return compare(result, primary(result, campaign.baselines))


def one_line_table(campaign: Campaign, runs: list[Run]) -> str:
    """All runs, a line each: a few scores, each with its verdict.

    Args:
        campaign: The campaign.
        runs: The runs to show, below the baselines.

    Returns:
        A table in Markdown.
    """
    header, rows = run_table(campaign, runs)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in lines)


def run_table(campaign: Campaign, runs: list[Run]) -> tuple[list[str], list[list[str]]]:
    """Baselines and runs with a few scores: the head of the table, and its rows."""
    names = brief(campaign)
    first = next(iter(campaign.baselines.values()))
    header = ["run", *(f"{short(name)} {sign(first.metrics[name])}".strip() for name in names), "change"]
    rows = [
        [name, *(str(group.lookup(metric) or "") for metric in names), "baseline"]
        for name, group in campaign.baselines.items()
    ]
    for run in runs:
        change = run.last.change if run.last else ""
        if run.status == "scored":
            comparison = comparison_of(campaign, campaign.result(run.number))
            rows.append([f"run_{run.number}", *(_cell(comparison.row(name)) for name in names), change])
        else:
            rows.append([f"run_{run.number}", *[""] * len(names), f"{run.status}: {change or run.given_up}"])
    return header, rows


def detail(campaign: Campaign, run: Run) -> str:
    """A scored run for a prompt: change, confounds, prediction with its outcome, all headline scores."""
    assert run.last is not None
    comparison = comparison_of(campaign, campaign.result(run.number))
    base = comparison.baseline.name
    lines = [f"run_{run.number}: {run.last.change}"]
    if run.last.ran:
        lines.append(f"Training took {run.last.ran['seconds']:.0f} s.")
    if comparison.confounds:
        lines.append(f"Confounds: {'; '.join(map(str, comparison.confounds))}")
    lines += [f"Predicted {line}" for line in outcomes(run, comparison)]
    noise = []
    for row in (comparison.row(name) for name in headlines(campaign)):
        if row is None:
            continue
        if row.verdict == "within noise":
            noise.append(f"{row.metric} {row.value}")
        else:
            beside = f"{base} {row.baseline}" + (f", noise ±{shown(row.margin)}" if row.margin is not None else "")
            lines.append(f"{row.metric} {sign(row.value)} {row.value} ({beside}): {row.verdict}".replace("  ", " "))
    if noise:
        lines.append(f"Within noise of {base}: {', '.join(noise)}")
    return "\n".join(lines)


def baseline_detail(campaign: Campaign) -> str:
    """The baselines for the first prompt: all headline scores, a line each."""
    lines = []
    for name in headlines(campaign):
        values = {group.name: group.lookup(name) for group in campaign.baselines.values()}
        known = [f"{architecture} {value}" for architecture, value in values.items() if value]
        first = next(value for value in values.values() if value)
        lines.append(f"{name} {sign(first)} {', '.join(known)}".replace("  ", " "))
    return "\n".join(lines)


def metric_table(campaign: Campaign, comparison: Comparison, names: list[str]) -> str:
    """A run's scores beside all baselines, in columns of equal width.

    Args:
        campaign: The campaign.
        comparison: The run beside the baseline it is judged against.
        names: The metrics, in their order.

    Returns:
        The table; the verdict is against `comparison.baseline`.
    """
    groups = campaign.baselines
    header = ["metric", "", comparison.run.name, *groups, f"change against {comparison.baseline.name}", "verdict"]
    rows = [header]
    for name in names:
        row = comparison.row(name)
        if row is None:
            continue
        others = [group.lookup(name) for group in groups.values()]
        delta = "" if row.delta is None else f"{'+' if row.delta >= 0 else ''}{shown(row.delta)}"
        floor = "" if row.margin is None else f" (noise ±{shown(row.margin)})"
        rows.append(
            [name, sign(row.value), str(row.value), *(str(v) if v else "" for v in others), delta + floor, row.verdict]
        )
    return columns(rows)


def outcomes(run: Run, comparison: Comparison) -> list[str]:
    """Each line of a prediction beside what came."""
    assert run.last is not None
    lines = []
    for said in run.last.predictions:
        size = (
            ""
            if said.low is None
            else f" by {shown(said.low)}" + (f" to {shown(said.high)}" if said.high is not None else "")
        )
        row = comparison.row(said.metric)
        came = "not scored" if row is None or row.delta is None else f"changed by {shown(row.delta)}, {row.verdict}"
        lines.append(f"{said.metric} {said.direction}{size}: {judge(said, comparison)} ({came})")
    return lines


def columns(rows: list[list[str]]) -> str:
    """Rows of cells as aligned text."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    made = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    made.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(made)


def told(campaign: Campaign, text: str) -> str:
    """A text of the model, its references filled in."""
    return fill(text, campaign.lookup)


def _cell(row: Row | None) -> str:
    return "" if row is None else f"{shown(row.value.value)} {MARKS.get(row.verdict, '')}".strip()
