"""Both sides' rows side by side: what agrees, and what each cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

RELATIVE = 1e-4
CHANCE = 0.1
"""Share of numbers with a spread that may lie outside it: the range of five draws is narrow for some by chance."""
UNDEFINED = "tpp_threshold_500_"
"""Small SAEs have fewer latents than that with a positive effect; SAEBench then adds some without, in no order."""
Rows = Sequence[Mapping[str, Any]]


def compare(theirs: Rows, ours: Rows) -> list[dict[str, Any]]:
    """One row for each evaluation, SAE and metric that both sides give.

    Values are means over the seeds; `spread` is the range of SAEBench's, None for what draws nothing. Two values agree
    when they differ by no more than the spread, or by 1e-4 of the value.

    Args:
        theirs: SAEBench's {"eval", "sae", "seed", "metrics", "seconds", "setup_seconds"}.
        ours: the lab's.
    """
    found = []
    groups = _grouped(theirs), _grouped(ours)
    for (name, sae), group in groups[0].items():
        own = groups[1].get((name, sae), [])
        means = summary(own)
        for metric, (a, spread) in summary(group).items():
            if metric not in means or metric.startswith(UNDEFINED):
                continue
            b = means[metric][0]
            found.append(
                {
                    "eval": name,
                    "sae": sae,
                    "metric": metric,
                    "theirs": a,
                    "ours": b,
                    "spread": spread,
                    "agrees": agree(a, b, spread),
                    "seconds_theirs": group[0]["seconds"],
                    "seconds_ours": own[0]["seconds"],
                    "setup_theirs": group[0]["setup_seconds"],
                    "setup_ours": own[0]["setup_seconds"],
                }
            )
    return found


def summary(rows: Rows) -> dict[str, tuple[float, float | None]]:
    """By metric the mean over seeds and the range of the values (None for one seed), of those that are finite."""
    found: dict[str, tuple[float, float | None]] = {}
    for metric in dict.fromkeys(name for row in rows for name in row["metrics"]):
        raw = [row["metrics"].get(metric) for row in rows]
        values = [float(value) for value in raw if value is not None and math.isfinite(value)]
        if values:
            found[metric] = fmean(values), (max(values) - min(values) if len(rows) > 1 else None)
    return found


def agree(theirs: float, ours: float, spread: float | None) -> bool:
    """Tell whether a value is within the spread of SAEBench's seeds, or within 1e-4 of the value."""
    return abs(theirs - ours) <= max(spread or 0.0, RELATIVE * abs(theirs))


def passes(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether all numbers that draw nothing agree, and all but a few (`CHANCE`) of the others.

    Args:
        rows: with "agrees" and "spread", as from `compare`.
    """
    exact = [row["agrees"] for row in rows if row["spread"] is None]
    drawn = [row["agrees"] for row in rows if row["spread"] is not None]
    return all(exact) and drawn.count(False) <= CHANCE * len(drawn)


def costs(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Seconds by evaluation and together: of one SAE (mean over SAEs), and of the set-up, on both sides.

    Args:
        rows: from `compare`.
    """
    names = ("seconds_theirs", "seconds_ours", "setup_theirs", "setup_ours")
    by_eval: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        by_eval.setdefault(row["eval"], {})[row["sae"]] = row
    found = {name: {key: fmean(row[key] for row in group.values()) for key in names} for name, group in by_eval.items()}
    return {**found, "together": {key: sum(row[key] for row in found.values()) for key in names}}


def _grouped(rows: Rows) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """Rows of an evaluation and SAE, in the order of their seeds; the first is the one that was timed."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["eval"], row["sae"]), []).append(row)
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Numbers beside numbers, evaluation by evaluation."""
    lines = [f"{'eval':<15}{'SAE':<10}{'metric':<42}{'SAEBench':>12}{'lab':>12}{'spread':>10}"]
    for row in rows:
        spread = "-" if row["spread"] is None else f"{row['spread']:.4f}"
        mark = "" if row["agrees"] else "  differs"
        numbers = f"{row['theirs']:>12.5g}{row['ours']:>12.5g}{spread:>10}{mark}"
        lines.append(f"{row['eval']:<15}{row['sae']:<10}{row['metric']:<42}{numbers}")
    return "\n".join(lines) + "\n"


def cost_table(found: Mapping[str, Mapping[str, float]]) -> str:
    """Seconds of one SAE and of the set-up, and how many times less the lab's are."""
    lines = [f"{'seconds':<15}" + "".join(f"{head:>11}" for head in ("SAEBench", "lab", "ratio") * 2)]
    for name, row in found.items():
        cells = ""
        for kind in ("seconds", "setup"):
            a, b = row[f"{kind}_theirs"], row[f"{kind}_ours"]
            cells += f"{a:>11.2f}{b:>11.2f}" + (f"{a / b:>10.1f}x" if a and b else f"{'-':>11}")
        lines.append(f"{name:<15}{cells}")
    return "\n".join([f"{'':<15}{'one SAE':>33}{'set-up':>33}", *lines]) + "\n"
