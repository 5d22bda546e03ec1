"""Make the figures from the results beside this file: `python plot.py`. Label the runs in LABELS; add figures below.

Every figure is a PNG in figures/ with its data beside it as CSV, listed with a description in figures/figures.json.
"""

import csv
import json
import statistics
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

# What each run is called in the figures; a run that is not named here goes by its folder.
LABELS: dict[str, str] = {}

FIGURES = Path("figures")
# Okabe and Ito 2008: eight colours that stay apart for colour-blind readers.
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000"]
MARKERS = "osD^vPX*"
HEADLINES = [
    ("core", "explained_variance", "Explained variance"),
    ("core", "delta_ce", "Increase of cross-entropy (nats)"),
    ("absorption", "mean_absorption_fraction_score", "Absorption, fraction"),
    ("absorption", "mean_full_absorption_score", "Absorption, full"),
]
BETTER = {"higher": "higher is better", "lower": "lower is better", None: ""}


@dataclass
class Result:
    """One scored run: its folder's name, its evaluations' entries, its training record."""

    name: str
    entries: dict
    training: dict

    @property
    def label(self) -> str:
        return LABELS.get(self.name, self.name)

    def metric(self, evaluation: str, name: str) -> float | None:
        """A score, or None where the run has none of that name."""
        found = self.entries.get(evaluation, {}).get("metrics", {}).get(name)
        return None if found is None else found["value"]

    def better(self, evaluation: str, name: str) -> str:
        """Which way is better, in words."""
        return BETTER[self.entries.get(evaluation, {}).get("metrics", {}).get(name, {}).get("better")]


def load(folder: Path) -> Result | None:
    """The results of a run folder; None where it was not scored."""
    try:
        results = json.loads((folder / "results.json").read_text())
        return Result(folder.name, results["entries"], json.loads((folder / "training.json").read_text()))
    except FileNotFoundError:
        return None


def load_runs() -> list[Result]:
    """The idea's scored runs, in their order."""
    folders = [path for path in Path().glob("run_*") if path.name[4:].isdigit() and path.name != "run_0"]
    loaded = [load(folder) for folder in sorted(folders, key=lambda path: int(path.name[4:]))]
    return [result for result in loaded if result is not None]


def load_seeds(home: Path) -> dict[str, list[Result]]:
    """Runs that differ in their seed, by name: the baselines in run_0, those at other L0 in run_0/matched."""
    groups: dict[str, list[Result]] = {}
    for folder in sorted(home.glob("*_seed*")):
        result = load(folder)
        if result is not None:
            groups.setdefault(folder.name.rpartition("_seed")[0], []).append(result)
    return dict(sorted(groups.items(), key=lambda item: item[0] != "topk"))


def load_grid() -> dict[str, list[Result]]:
    """The lab's grid of baselines, where it was made: each architecture at several L0."""
    found: dict[str, list[Result]] = {}
    for name, seeds in load_seeds(Path("run_0/grid")).items():
        found.setdefault(f"{name.rpartition('_l0_')[0]} grid", []).extend(seeds)
    return found


def save(figure: plt.Figure, name: str, description: str, rows: list[dict], listing: dict[str, str]) -> None:
    """Write a figure, its data and its place in the list."""
    figure.savefig(FIGURES / f"{name}.png")
    plt.close(figure)
    fields = list(dict.fromkeys(key for row in rows for key in row))
    with (FIGURES / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(rows)
    listing[f"{name}.png"] = description


def headline_scores(runs: list[Result], baselines: dict[str, list[Result]], listing: dict[str, str]) -> None:
    """Headline metrics of each run; each baseline as its mean with the range of its seeds."""
    shown = [item for item in HEADLINES if any(run.metric(*item[:2]) is not None for run in runs)]
    if not shown:
        return
    figure, grid = plt.subplots(
        1, len(shown), figsize=(3.4 * len(shown), 1.6 + 0.34 * len(runs)), sharey=True, squeeze=False
    )
    rows = []
    for axes, (evaluation, name, title) in zip(grid[0], shown, strict=True):
        for colour, (architecture, seeds) in zip(COLOURS, baselines.items(), strict=False):
            values = [value for seed in seeds if (value := seed.metric(evaluation, name)) is not None]
            if not values:
                continue
            label = f"{architecture} baseline, {len(values)} seeds: mean and range"
            axes.axvspan(min(values), max(values), color=colour, alpha=0.2, linewidth=0)
            axes.axvline(statistics.fmean(values), color=colour, linewidth=1.2, label=label)
            rows += [
                {"run": s.name, "metric": f"{evaluation}.{name}", "value": s.metric(evaluation, name)} for s in seeds
            ]
        for place, run in enumerate(runs):
            value = run.metric(evaluation, name)
            if value is not None:
                axes.plot(value, place, "o", color="black", markersize=5)
                rows.append({"run": run.name, "metric": title, "value": value})
            for seed in load_seeds(Path(f"{run.name}_confirm")).get(f"{run.name}_confirm", []):
                if (fresh := seed.metric(evaluation, name)) is not None:
                    axes.plot(fresh, place, "o", color="black", fillstyle="none", markersize=5)
                    rows.append({"run": seed.name, "metric": title, "value": fresh})
        axes.set_xlabel(f"{title}\n{runs[0].better(evaluation, name)}")
    grid[0][0].set_yticks(range(len(runs)), [run.label for run in runs])
    grid[0][0].invert_yaxis()
    grid[0][0].set_ylabel("Run")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)
    description = (
        "Headline scores of each run (dots; rings: fresh seeds of the run that was confirmed) beside the baselines "
        "(lines: means, bands: range over seeds)."
    )
    save(figure, "headline", description, rows, listing)


def sparsity_plane(runs: list[Result], baselines: dict[str, list[Result]], listing: dict[str, str]) -> None:
    """L0 against explained variance: where a gain in the one is a loss in the other."""
    figure, axes = plt.subplots(figsize=(6.4, 4.2))
    rows = []
    series = [(f"{name} baseline", seeds, None) for name, seeds in baselines.items()]
    series += [(run.label, [run], number) for number, run in enumerate(runs)]
    for place, (label, members, number) in enumerate(series):
        points = [(m.metric("core", "l0"), m.metric("core", "explained_variance")) for m in members]
        points = [point for point in points if None not in point]
        if not points:
            continue
        marker = "x" if number is None else MARKERS[number % len(MARKERS)]
        colour = COLOURS[place % len(COLOURS)]
        axes.scatter(*zip(*points, strict=True), marker=marker, color=colour, s=44, label=label)
        rows += [{"run": m.name, "l0": x, "explained_variance": y} for m, (x, y) in zip(members, points, strict=False)]
    axes.set_xlabel("L0 (active latents a token)")
    axes.set_ylabel("Explained variance (higher is better)")
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    save(figure, "sparsity_fidelity", "L0 against explained variance, each baseline seed and each run.", rows, listing)


def absorption_by_letter(runs: list[Result], baselines: dict[str, list[Result]], listing: dict[str, str]) -> None:
    """The absorption fraction of each letter: a mean can hide that one letter carries it."""
    shown = [(name, seeds) for name, seeds in list(baselines.items())[:1]] + [(run.label, [run]) for run in runs]
    tables = [(label, by_letter(members)) for label, members in shown]
    letters = sorted({letter for _, table in tables for letter in table})
    if not letters:
        return
    figure, axes = plt.subplots(figsize=(1.8 + 0.3 * len(letters), 1.4 + 0.34 * len(tables)))
    values = [[table.get(letter, float("nan")) for letter in letters] for _, table in tables]
    image = axes.imshow(values, aspect="auto", cmap="cividis", vmin=0)
    axes.set_xticks(range(len(letters)), letters)
    axes.set_yticks(range(len(tables)), [label for label, _ in tables])
    axes.grid(visible=False)
    axes.set_xlabel("First letter")
    axes.set_ylabel("Run")
    figure.colorbar(image, label="Absorption, fraction (lower is better)")
    rows = [{"run": label, **table} for label, table in tables]
    save(
        figure, "absorption_letters", "Mean absorption fraction of each first letter (lower is better).", rows, listing
    )


def by_letter(members: list[Result]) -> dict[str, float]:
    """Letter to absorption fraction, the mean over seeds."""
    found: dict[str, list[float]] = {}
    for member in members:
        for entry in member.entries.get("absorption", {}).get("details", {}).get("letters", []):
            if entry["kept"]:
                found.setdefault(entry["letter"], []).append(entry["mean_absorption_fraction"])
    return {letter: statistics.fmean(values) for letter, values in found.items()}


def training_curves(runs: list[Result], baselines: dict[str, list[Result]], listing: dict[str, str]) -> None:
    """Explained variance on the training batches over the steps."""
    figure, axes = plt.subplots(figsize=(6.4, 4.2))
    rows = []
    members = [(f"{name} baseline", seeds[0], "--") for name, seeds in baselines.items()]
    members += [(run.label, run, "-") for run in runs]
    for place, (label, member, style) in enumerate(members):
        curves = member.training.get("curves", {})
        steps, values = curves.get("step", []), curves.get("explained_variance", [])
        if not values:
            continue
        axes.plot(steps, values, style, color=COLOURS[place % len(COLOURS)], linewidth=1.3, label=label)
        rows += [{"run": member.name, "step": x, "explained_variance": y} for x, y in zip(steps, values, strict=True)]
    axes.set_xlabel("Training step")
    axes.set_ylabel("Explained variance of the batch")
    axes.set_ylim(bottom=0, top=1)
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    save(figure, "training", "Explained variance of the training batches over the steps.", rows, listing)


def main() -> None:
    mpl.use("Agg")
    plt.rcParams.update(
        {
            "figure.dpi": 150,
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.3,
            "axes.axisbelow": True,
            "legend.frameon": False,
            "legend.fontsize": "small",
        }
    )
    FIGURES.mkdir(exist_ok=True)
    runs, baselines, listing = load_runs(), load_seeds(Path("run_0")), {}
    for figure in (headline_scores, absorption_by_letter, training_curves):
        figure(runs, baselines, listing)
    sparsity_plane(runs, {**baselines, **load_seeds(Path("run_0/matched")), **load_grid()}, listing)
    (FIGURES / "figures.json").write_text(json.dumps(listing, indent=2) + "\n")


if __name__ == "__main__":
    main()
