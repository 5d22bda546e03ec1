"""Evaluations of an SAE, a module each: those that `TABLE` lists."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lab import cache
from lab.errors import LabError
from lab.evals.metric import Metric
from lab.sources import source_hash

if TYPE_CHECKING:
    from lab.evals.base import Evaluation

_METRICS = "metrics.json"

TABLE: dict[str, str] = {
    "core": "lab.evals.core",
    "absorption": "lab.evals.absorption",
    "sparse_probing": "lab.evals.sparse_probing",
    "scr": "lab.evals.scr",
    "tpp": "lab.evals.tpp",
    "unlearning": "lab.evals.unlearning",
    "autointerp": "lab.evals.autointerp",
    "ravel": "lab.evals.ravel",
    "meta_structure": "lab.evals.meta_structure",
    "mdl": "lab.evals.mdl",
}
"""Each evaluation's name and the module that is one (`lab.evals.base.Evaluation`), imported when it is asked for.

To add one is to add a file and a line. No score of another depends on this table.
"""


def choose(names: Iterable[str]) -> list[str]:
    """The evaluations asked for, each once, in the order asked; "all" stands for every one.

    Raises:
        LabError: a name is unknown, or there is none.
    """
    chosen: list[str] = []
    for name in names:
        if name != "all" and name not in TABLE:
            raise LabError(f"unknown evaluation {name!r}: choose from {', '.join(TABLE)}, or all")
        chosen += [each for each in (TABLE if name == "all" else (name,)) if each not in chosen]
    if not chosen:
        raise LabError(f"no evaluation was named: choose from {', '.join(TABLE)}, or all")
    return chosen


def load(name: str) -> Evaluation:
    """The module of one evaluation; imported here, so that naming evaluations stays quick."""
    return cast("Evaluation", importlib.import_module(TABLE[choose([name])[0]]))


def metrics() -> dict[str, Metric]:
    """The metrics of all evaluations, by the evaluation's name and their own: "core.l0".

    Who has PyTorch loaded asks the evaluations. Others would wait seconds for it, so they ask the cache, which keeps
    what the evaluations said.
    """
    if "torch" in sys.modules:
        return _told()
    try:
        folder = cache.entry("metrics", {"evaluations": TABLE, "source": source_hash(*TABLE.values())}, _keep)
    except LabError:  # a cache that cannot be written
        return _told()
    return {name: _metric(**described) for name, described in cache.read_json(folder / _METRICS).items()}


def _told() -> dict[str, Metric]:
    return {f"{name}.{metric}": described for name in TABLE for metric, described in load(name).METRICS.items()}


def _keep(folder: Path) -> None:
    cache.write_json(folder / _METRICS, {name: dataclasses.asdict(described) for name, described in _told().items()})


def _metric(names: list[str], needs: list[Any] | None, **described: Any) -> Metric:
    """A metric of its fields in JSON, which has lists for tuples."""
    return Metric(names=tuple(names), needs=(needs[0], needs[1]) if needs else None, **described)
