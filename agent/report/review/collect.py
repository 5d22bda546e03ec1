"""The contents of the review page as plain values: everything is read, nothing is decided here."""

import base64
import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.campaign.folder import EXPERIMENT
from agent.campaign.record import REFEREE, TRANSCRIPT, Record
from agent.campaign.state import Run, next_step
from agent.models.transcript import Spent, read_lines, spent_by
from agent.report.closing import chance_text, confirmation_text
from agent.report.notes import changed_settings, diff_summary, ending, referee_lines
from agent.report.review.charts import Chart, Curve, Level, Point
from agent.report.review.diffs import Line, side_by_side
from agent.report.tables import asked_text, brief, change_cells, headlines, outcomes, short, sign, told
from agent.results.compare import Comparison, Row
from agent.results.predictions import outcome
from agent.results.read import Value, read_json, shown

PLANE = ("core.l0", "core.explained_variance")
CURVE = "explained_variance"
FIGURE_BYTES = 400_000
TONES = {
    "improved": "improved",
    "worse": "worse",
    "no effect": "same",
    "undecided": "noise",
    "within noise": "noise",
    "changed": "changed",
    "not comparable": "void",
    "not measurable": "void",
    "not scored": "void",
    "no baseline": "void",
}


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, what it is sorted by, the verdict it carries, and more on hover."""

    text: str
    order: float | str
    tone: str = ""
    title: str = ""


@dataclass(frozen=True)
class RunView:
    """One run or, with `number` 0, one baseline: its line in the table and, for a run, everything about it."""

    name: str
    number: int
    status: str
    title: str
    cells: tuple[Cell, ...]
    run: Run | None = None
    scores: tuple[tuple[Cell, ...], ...] = ()
    baseline: str = ""
    confounds: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    predictions: tuple[tuple[str, str], ...] = ()
    prediction: str = ""
    analysis: str = ""
    referee: tuple[str, ...] = ()
    settings: str = ""
    parent: str = ""
    summary: str = ""
    diff: tuple[Line, ...] = ()
    spent: Spent = field(default_factory=Spent)
    seconds: float = 0.0

    @property
    def outcomes(self) -> str:
        """Its predictions' outcomes, counted."""
        counts = Counter(outcome for _, outcome in self.predictions)
        return ", ".join(f"{counts[kind]} {kind}" for kind in ("hit", "miss", "undecided") if counts[kind])


@dataclass(frozen=True)
class Figure:
    """A figure that `plot.py` made; `image` is the whole picture as a data address."""

    name: str
    description: str
    image: str
    data: str


@dataclass(frozen=True)
class View:
    """A whole campaign."""

    title: str
    idea: dict[str, Any]
    facts: tuple[tuple[str, str], ...]
    now: str
    columns: tuple[str, ...]
    baselines: tuple[RunView, ...]
    runs: tuple[RunView, ...]
    charts: tuple[Chart, ...]
    figures: tuple[Figure, ...]
    goal: str
    confirmation: tuple[str, ...]
    chance: str
    closing: str
    ended: str


def collect(record: Record) -> View:
    """Read everything that the page shows.

    Args:
        record: That of a campaign that may be under way, or not have begun.

    Returns:
        The values of the page.

    Raises:
        AgentError: The ledger or a result is damaged.
    """
    state = record.state
    lines = read_lines(record.folder.path / TRANSCRIPT)
    known = bool(state.baselines and record.baselines)
    names = brief(record) if known else []
    runs = tuple(_run(record, run, names, lines) for run in state.runs)
    return View(
        title=record.idea.Title,
        idea=record.idea.model_dump(),
        facts=tuple(_facts(record, spent_by(lines))),
        now=_now(record),
        columns=tuple(_heads(record, names)),
        baselines=tuple(_baselines(record, names)) if known else (),
        runs=runs,
        charts=tuple(_charts(record, names)) if known else (),
        figures=tuple(_figures(record)),
        goal=record.goal if known else "",
        confirmation=tuple(confirmation_text(record)) if known else (),
        chance=chance_text(record) if known else "",
        closing=told(record, state.closing, state.closing_set),
        ended=ending(record),
    )


def _heads(record: Record, names: list[str]) -> list[str]:
    group = record.baseline if names else None
    return [f"{short(name)} {sign(group.metrics[name])}".strip() for name in names] if group else []


def _facts(record: Record, spent: Spent) -> list[tuple[str, str]]:
    state = record.state
    model = state.settings.model
    scripted = model.startswith("replay:")
    started, last = (record.folder.ledger.entries[place].time for place in (0, -1))
    facts = [
        ("model", "scripted replies; the numbers were measured here" if scripted else model),
        ("profile", f"{record.profile.name}: {record.profile.title}".rstrip(": ")),
        ("runs", f"{len(state.scored)} scored of {len(state.runs)}, {state.settings.max_runs} allowed"),
        ("model calls", _cost(spent)),
        ("from", f"{started[:16].replace('T', ' ')} to {last[:16].replace('T', ' ')} UTC"),
        ("folder", record.folder.path.name),
    ]
    if lines := read_lines(record.folder.path / REFEREE):
        facts.append(("referee calls", _cost(spent_by(lines))))
    return facts


def _cost(spent: Spent) -> str:
    return f"{spent.calls}, {spent.tokens:,} tokens, {_dollars(spent)}"


def _dollars(spent: Spent) -> str:
    if spent.unknown:
        return f"over ${spent.dollars:.2f} ({spent.unknown} calls of unknown price)"
    return f"${spent.dollars:.2f}"


def _now(record: Record) -> str:
    step, run = next_step(record.state)
    if step == "done":
        return ""
    return f"{step.replace('_', ' ')}{f', run {run.number}' if run else ''}"


def _baselines(record: Record, names: list[str]) -> list[RunView]:
    views = []
    for name, group in record.groups().items():
        cells = tuple(_plain(group.lookup(metric)) for metric in names)
        seconds = sum(float(run.training.get("seconds") or 0.0) for run in group.runs)
        views.append(RunView(name, 0, "baseline", f"{len(group.runs)} seeds", cells, seconds=seconds))
    return views


def _run(record: Record, run: Run, names: list[str], lines: list[dict[str, Any]]) -> RunView:
    last, of = run.last, run if run.status == "scored" else None
    comparison = record.verdict(run) if run.status == "scored" else None
    first = run.attempts[0].parent if run.attempts else ""
    spent = spent_by([line for line in lines if line.get("purpose") == f"run_{run.number}"])
    diff = _diff(record, first, last.commit) if last else ()
    return RunView(
        name=f"run_{run.number}",
        number=run.number,
        status=run.status if run.status != "open" else "under way",
        title=last.change if last else run.given_up or "no edit was taken yet",
        cells=tuple(_cell(comparison.row(name) if comparison else None) for name in names),
        run=run,
        scores=tuple(_scores(record, comparison)) if comparison else (),
        baseline=comparison.baseline.name if comparison else "",
        confounds=tuple(map(str, comparison.confounds)) if comparison else (),
        asked=tuple(asked_text(record, comparison)) if comparison else (),
        predictions=tuple(_predictions(run, comparison)) if comparison else (),
        prediction=told(record, last.prediction, of) if last else "",
        analysis=told(record, run.analysis, of),
        referee=tuple(referee_lines(run)),
        settings=changed_settings(record, run) if comparison else "",
        parent=first[:8],
        summary=diff_summary(record, run),
        diff=diff,
        spent=spent,
        seconds=_seconds(run),
    )


def _diff(record: Record, old: str, new: str) -> tuple[Line, ...]:
    return tuple(side_by_side(record.folder.at(old, EXPERIMENT), record.folder.at(new, EXPERIMENT)))


def _seconds(run: Run) -> float:
    """Training and scoring of all attempts."""
    told = [part for one in run.attempts for part in (one.ran, one.failure, one.score, *one.repeats) if part]
    return sum(part.seconds for part in told)


def _predictions(run: Run, comparison: Comparison) -> list[tuple[str, str]]:
    assert run.last is not None
    verdicts = [outcome(said, comparison) for said in run.last.predictions]
    return list(zip(outcomes(run, comparison), verdicts, strict=True))


def _scores(record: Record, comparison: Comparison) -> list[tuple[Cell, ...]]:
    """The headline scores of a run, a row each: metric, value, baseline, difference, verdict."""
    rows: list[tuple[Cell, ...]] = []
    for row in (comparison.row(name) for name in headlines(record)):
        if row is None:
            continue
        effect, verdict = change_cells(row)
        rows.append(
            (
                Cell(f"{row.metric} {sign(row.value)}".strip(), row.metric),
                Cell(str(row.value), row.value.value),
                _plain(row.baseline),
                Cell(effect, row.delta or 0.0),
                Cell(verdict, row.verdict, TONES.get(row.verdict, "")),
            )
        )
    return rows


def _plain(value: Value | None) -> Cell:
    return Cell("", math.inf) if value is None else Cell(str(value), value.value)


def _cell(row: Row | None) -> Cell:
    if row is None:
        return Cell("", math.inf)
    beside = f", baseline {row.baseline}" if row.baseline else ""
    effect = f", effect {change_cells(row)[0]}" if row.delta is not None else ""
    return Cell(shown(row.value.value), row.value.value, TONES.get(row.verdict, ""), f"{row.verdict}{beside}{effect}")


def _charts(record: Record, names: list[str]) -> list[Chart]:
    charts = [chart for name in names if (chart := _over_runs(record, name))]
    return [chart for chart in (_plane(record), *charts, _training(record)) if chart]


def _over_runs(record: Record, name: str) -> Chart | None:
    points: list[Point] = []
    margins: dict[str, float | None] = {}
    for run in record.state.scored:
        comparison = record.verdict(run)
        row = comparison.row(name)
        if row is not None and math.isfinite(row.value.value):
            title = f"run_{run.number}: {row.value}, {row.verdict}"
            margins.setdefault(comparison.baseline.name, row.margin)
            points.append(
                Point(run.number, row.value.value, title, TONES.get(row.verdict, ""), link=f"#run_{run.number}")
            )
    if not points:
        return None
    levels, first = [], record.baseline.metrics[name]
    for place, group in enumerate(record.groups().values()):
        value = group.lookup(name)
        if value is None or not math.isfinite(value.value):
            continue
        levels.append(Level(value.value, f"{group.name} baseline: {value}", f"base{place}", margins.get(group.name)))
    about = {"higher": "higher is better", "lower": "lower is better", None: ""}[first.better]
    note = f"{about}; lines: baselines, band: 95% interval of one new baseline run".strip("; ")
    return Chart(short(name), "run", short(name), tuple(points), levels=tuple(levels), whole=True, note=note)


def _plane(record: Record) -> Chart | None:
    points = []
    for place, group in enumerate(record.groups().values()):
        for seed in group.runs:
            points += _in_plane(seed.metrics, f"{group.name}, {seed.name}", f"base{place}", "cross", "")
    for group in record.grid().values():
        for seed in group.runs:
            points += _in_plane(seed.metrics, f"{group.name}, of the grid", "void", "cross", "")
    for run in record.state.scored:
        points += _in_plane(record.scored_seeds(run).metrics, run.name, "run", "dot", str(run.number))
    if not points:
        return None
    note = "the plane to look at first: up is better at equal L0; crosses: baseline seeds and grid, numbers: runs"
    return Chart("Sparsity and fidelity", "L0 (active latents a token)", "explained variance", tuple(points), note=note)


def _in_plane(metrics: dict[str, Value], title: str, tone: str, mark: Any, label: str) -> list[Point]:
    values = [metrics[name].value for name in PLANE if name in metrics]
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return []
    link = f"#run_{label}" if label else ""
    at = f"L0 {shown(values[0])}, explained variance {shown(values[1])}"
    return [Point(values[0], values[1], f"{title}: {at}", tone, mark, label, link)]


def _training(record: Record) -> Chart | None:
    curves = []
    for run in record.state.scored:
        curves += _curve(record.folder.run_dir(run.number), f"run_{run.number}", "run", False)
    for place, group in enumerate(record.baselines.values()):
        curves += _curve(record.baseline_dir() / group.runs[0].name, f"{group.name} baseline", f"base{place}", True)
    if not curves:
        return None
    note = "explained variance of the training batches; dashed: baselines"
    return Chart("Training", "step", "explained variance", curves=tuple(curves), note=note)


def _curve(folder: Path, title: str, tone: str, dashed: bool) -> list[Curve]:
    curves = read_json(folder / "training.json").get("curves", {})
    pairs = zip(curves.get("step", ()), curves.get(CURVE, ()), strict=False)
    points = tuple((float(x), float(y)) for x, y in pairs if y is not None and math.isfinite(float(y)))
    return [Curve(points, title, tone, dashed)] if len(points) > 1 else []


def _figures(record: Record) -> list[Figure]:
    folder = record.folder.path / "figures"
    found = []
    for name, description in (record.state.figures or {}).items():
        path = folder / name
        if not path.is_file():
            found.append(Figure(name, f"{description} (the file is missing)", "", ""))
            continue
        whole = path.stat().st_size <= FIGURE_BYTES
        image = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode() if whole else f"figures/{name}"
        data = path.with_suffix(".csv")
        found.append(Figure(name, description, image, f"figures/{data.name}" if data.is_file() else ""))
    return found
