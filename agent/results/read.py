"""Reads what a run left behind: its scores, its training record, and groups of baselines over seeds."""

import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from agent.base.errors import AgentError

_LAST = 3  # entries of a curve
Better = Literal["higher", "lower"] | None


@dataclass(frozen=True)
class Value:
    """One score with its direction, its unit and what texts call it.

    `sd` and `n` are those of a mean over seeds; `given` marks a setting; `of_sae` is False where no SAE can move it;
    `matters` is the smallest effect that would matter, as a share of the value; `needs` is another metric, and the
    value below which this one is not measurable.
    """

    value: float
    better: Better = None
    unit: str = ""
    headline: bool = False
    sd: float | None = None
    n: int = 1
    given: bool = False
    names: tuple[str, ...] = ()
    of_sae: bool = True
    matters: float = 0.01
    needs: tuple[str, float] | None = None

    def __str__(self) -> str:
        text = f"{self.value:g}" if self.given else shown(self.value)
        if self.sd is not None and self.n > 1:
            text += f" ± {shown_spread(self.sd, self.value)}"
        return f"{text} {self.unit}".strip()


@dataclass(frozen=True)
class RunResult:
    """The scores and the training record of one run.

    Args:
        name: For example `run_3` or `topk_seed0`.
        metrics: From `core.explained_variance` and so on to its value.
        training: The training record as the lab wrote it; its `curves` are left out.
        weights: The hash of the scored artifact.
        evaluator: The parts of the evaluator's keys that must be equal for two results to be compared.
        cost: Its size and what a token costs, as the lab read it off the artifact (`lab.cost.Cost`); empty for one
            that was scored before the lab did.
    """

    name: str
    metrics: dict[str, Value]
    training: dict[str, Any]
    weights: str
    evaluator: dict[str, Any]
    cost: Mapping[str, Any] = field(default_factory=dict)

    @property
    def architecture(self) -> str:
        """`topk`, `relu` or what the run called its own."""
        return str(self.training.get("architecture", ""))

    @property
    def seed(self) -> int | None:
        """The seed it was trained with; None where the record has none."""
        seed = self.training.get("seed")
        return seed if isinstance(seed, int) else None

    def lookup(self, name: str) -> Value | None:
        """A metric, or `settings.NAME`, `training.NAME`, `sae.NAME`; None when there is no such number."""
        if name in self.metrics:
            return self.metrics[name]
        part, _, key = name.partition(".")
        tables = {"settings": self.training.get("settings", {}), "training": self.training, "sae": self.cost}
        number = tables.get(part, {}).get(key)
        if isinstance(number, bool) or not isinstance(number, int | float):
            return None
        return Value(float(number), given=part == "settings")


@dataclass(frozen=True)
class Group:
    """Runs of the same code that differ in their seed.

    Args:
        name: Without the seed.
        runs: One for each seed, at least one.
        ends: The two groups between which its scores lie, where none of it was trained.
    """

    name: str
    runs: tuple[RunResult, ...]
    ends: tuple[str, ...] = ()

    @property
    def architecture(self) -> str:
        """The architecture of all its runs."""
        return self.runs[0].architecture

    @property
    def overrides(self) -> dict[str, Any]:
        """The settings that made it, beside the template's own."""
        return dict(self.runs[0].training.get("overrides", {}))

    def samples(self, name: str) -> list[tuple[int | None, float]]:
        """Seed and value of each run that has the metric."""
        found = ((run.seed, run.lookup(name)) for run in self.runs)
        return [(seed, value.value) for seed, value in found if value is not None]

    def lookup(self, name: str) -> Value | None:
        """The mean over the seeds, with its standard deviation; None when a seed lacks it."""
        values = [run.lookup(name) for run in self.runs]
        if not values or any(value is None for value in values):
            return None
        known = [value for value in values if value is not None]
        numbers = [value.value for value in known]
        sd = statistics.stdev(numbers) if len(numbers) > 1 else None
        return replace(known[0], value=statistics.fmean(numbers), sd=sd, n=len(numbers))

    @property
    def metrics(self) -> dict[str, Value]:
        """All metrics that every seed has."""
        found = {name: self.lookup(name) for name in self.runs[0].metrics}
        return {name: value for name, value in found.items() if value is not None}


def load_result(run_dir: Path, name: str | None = None) -> RunResult:
    """Read a run's results and training record.

    Args:
        run_dir: Its folder.
        name: What it is called; the folder's name by default.

    Returns:
        The result.

    Raises:
        AgentError: A file is missing or damaged.
    """
    results, training = (read_json(run_dir / file) for file in ("results.json", "training.json"))
    metrics: dict[str, Value] = {}
    evaluator: dict[str, Any] = {}
    try:
        for eval_name, entry in results["entries"].items():
            evaluator[eval_name] = {key: value for key, value in entry["key"].items() if key != "sae"}
            for metric, score in entry["metrics"].items():
                needs = score.get("needs")
                metrics[f"{eval_name}.{metric}"] = Value(
                    float("nan") if score["value"] is None else float(score["value"]),
                    score["better"],
                    score.get("unit", ""),
                    bool(score.get("headline", False)),
                    names=tuple(map(str, score.get("names", ()))),  # results did not always have this and what follows
                    of_sae=bool(score.get("of_sae", True)),
                    matters=float(score.get("matters", 0.01)),
                    needs=(f"{eval_name}.{needs[0]}", float(needs[1])) if needs else None,
                )
        training = {**training, "l0_at_end": _l0_at_end(training.pop("curves", {}))}
        cost = dict(results.get("cost", {}))
        return RunResult(name or run_dir.name, metrics, training, str(results["sae"]), evaluator, cost)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AgentError(f"{run_dir / 'results.json'} is damaged ({error!r}); score the run again") from error


def _l0_at_end(curves: dict[str, Any]) -> float | None:
    """The L0 that a run logged itself in its last steps; None where it logged none."""
    logged = [value for value in curves.get("l0", []) if isinstance(value, int | float)][-_LAST:]
    return statistics.fmean(logged) if logged else None


def load_groups(folder: Path) -> dict[str, Group]:
    """Runs that differ in their seed, by what their folders are called.

    Args:
        folder: The folder that holds `topk_seed0`, `topk_seed1`, `relu_seed0` and so on; it may be missing.

    Returns:
        One group for each name before `_seed`, TopK first.

    Raises:
        AgentError: Results are missing or damaged.
    """
    groups: dict[str, list[RunResult]] = {}
    for path in sorted(path for path in folder.glob("*_seed*") if path.is_dir()):
        groups.setdefault(path.name.rpartition("_seed")[0], []).append(load_result(path))
    names = sorted(groups, key=lambda name: (name != "topk", name))
    return {name: Group(name, tuple(groups[name])) for name in names}


def shown(number: float) -> str:
    """A number with four significant digits, as people write it."""
    if math.isnan(number) or math.isinf(number):
        return str(number)
    if number == int(number) and abs(number) < 1e6:
        return str(int(number))
    if abs(number) >= 1000:
        return f"{number:,.0f}"
    if abs(number) < 1e-4:
        return f"{number:.2e}"
    return f"{number:#.4g}".rstrip(".")


def shown_spread(sd: float, mean: float) -> str:
    """A standard deviation at the decimals of its mean."""
    text = shown(mean)
    if "e" in text or sd == 0 or "." not in text:
        return shown(sd) if sd else "0"
    decimals = len(text.partition(".")[2])
    rounded = f"{sd:.{decimals}f}"
    return rounded if float(rounded) else f"{sd:.1g}"


def read_json(path: Path) -> dict[str, Any]:
    """The object in a result file.

    Raises:
        AgentError: The file is missing or damaged.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AgentError(f"cannot read {path}: {error.strerror}; score the run again") from error
    except (ValueError, RecursionError) as error:
        raise AgentError(f"{path} is damaged ({error}); score the run again") from error
    if not isinstance(data, dict):
        raise AgentError(f"{path} is damaged (no JSON object); score the run again")
    return data
