"""Evaluations of an SAE, a module each: those that `TABLE` lists."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from lab.errors import LabError

if TYPE_CHECKING:
    from lab.evals.base import Evaluation, Metric

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
    """The metrics of all evaluations, by the evaluation's name and their own: "core.l0"."""
    return {f"{name}.{metric}": described for name in TABLE for metric, described in load(name).METRICS.items()}
