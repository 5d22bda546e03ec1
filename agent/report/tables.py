"""Results as text: the table of runs for a prompt, a run's table for the notes, the final table for the screen."""

from agent.campaign import Campaign
from agent.references import fill
from agent.report.compare import Comparison, Row, compare, judge, primary
from agent.report.results import RunResult, Value, shown
from agent.state import Run

MARKS = {"improved": "improved", "worse": "worse", "within noise": "~", "changed": "changed", "not comparable": "n/c"}


def sign(value: Value) -> str:
    """`(+)`, `(-)` or nothing: which way is better."""
    return {"higher": "(+)", "lower": "(-)", None: ""}[value.better]


def headlines(campaign: Campaign) -> list[str]:
    """The metrics that tables show first; all of them where no evaluation marks any."""
    group = next(iter(campaign.baselines.values()))
    marked = [name for name, value in group.metrics.items() if value.headline]
    return marked or list(group.metrics)


def comparison_of(campaign: Campaign, result: RunResult) -> Comparison:
    """A run beside the baseline it is judged against."""
    return compare(result, primary(result, campaign.baselines))


def one_line_table(campaign: Campaign, runs: list[Run]) -> str:
    """All runs, a line each: headline scores, each with its verdict.

    Args:
        campaign: The campaign.
        runs: The runs to show, below the baselines.

    Returns:
        A table in Markdown.
    """
    names = headlines(campaign)
    first = next(iter(campaign.baselines.values()))
    header = ["run", *(f"{name} {sign(first.metrics[name])}".strip() for name in names), "what"]
    rows = [header, ["---"] * len(header)]
    for name, group in campaign.baselines.items():
        rows.append([name, *(str(group.metrics[metric]) for metric in names if metric in group.metrics), "baseline"])
    for run in runs:
        change = run.last.change if run.last else ""
        if run.status != "scored":
            rows.append([f"run_{run.number}", *[""] * len(names), f"{run.status}: {change or run.given_up}"])
            continue
        comparison = comparison_of(campaign, campaign.result(run.number))
        cells = [_cell(comparison.row(name)) for name in names]
        rows.append([f"run_{run.number}", *cells, change])
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows)


def detail(campaign: Campaign, run: Run) -> str:
    """A scored run in full: change, prediction with its outcome, all scores that are not on one line already."""
    assert run.last is not None
    comparison = comparison_of(campaign, campaign.result(run.number))
    parts = [
        f"run_{run.number}: {run.last.change}",
        f"Training took {shown(float(run.last.ran['seconds']))} s." if run.last.ran else "",
        f"Confounds: {'; '.join(map(str, comparison.confounds))}" if comparison.confounds else "",
        *(f"Predicted {line}" for line in outcomes(run, comparison)),
        metric_table(campaign, comparison, headlines(campaign)),
    ]
    return "\n".join(part for part in parts if part)


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


def final_table(campaign: Campaign) -> tuple[list[str], list[list[str]]]:
    """The table that ends a campaign on the screen: its columns and its rows."""
    names = headlines(campaign)
    first = next(iter(campaign.baselines.values()))
    header = ["run", *(f"{name.partition('.')[2]} {sign(first.metrics[name])}".strip() for name in names), "change"]
    rows = [
        [name, *(str(group.lookup(metric) or "") for metric in names), "baseline"]
        for name, group in campaign.baselines.items()
    ]
    for run in campaign.state.runs:
        label, change = f"run {run.number}", run.last.change if run.last else ""
        if run.status == "scored":
            comparison = comparison_of(campaign, campaign.result(run.number))
            rows.append([label, *(_cell(comparison.row(name)) for name in names), change])
        else:
            rows.append([label, *[""] * len(names), f"{run.status}: {change or run.given_up}"])
    return header, rows
