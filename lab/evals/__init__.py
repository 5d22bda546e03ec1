"""Evaluations of an SAE, one module each: those that `NAMES` lists.

A module here is an evaluation when its name is in `NAMES`. What it offers is `lab.evals.base.Evaluation`; adding one is
adding a file and a name.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from lab.errors import LabError

if TYPE_CHECKING:
    from lab.evals.base import Evaluation, Metric

NAMES = (
    *("core", "absorption", "sparse_probing", "scr", "tpp"),
    *("unlearning", "autointerp", "ravel", "meta_structure", "mdl"),
)
JUDGED = ("autointerp",)
"""Those that ask a language model, which the caller names; they are no part of "all" without one."""


def choose(names: Iterable[str]) -> list[str]:
    """The evaluations asked for, each once, in the order asked; "all" stands for every one.

    Raises:
        LabError: a name is unknown, or there is none.
    """
    chosen: list[str] = []
    for name in names:
        if name != "all" and name not in NAMES:
            raise LabError(f"unknown evaluation {name!r}: choose from {', '.join(NAMES)}, or all")
        chosen += [each for each in (NAMES if name == "all" else (name,)) if each not in chosen]
    if not chosen:
        raise LabError(f"no evaluation was named: choose from {', '.join(NAMES)}, or all")
    return chosen


def load(name: str) -> Evaluation:
    """The module of one evaluation; imported here, so that naming evaluations stays quick."""
    return cast("Evaluation", importlib.import_module(f"lab.evals.{choose([name])[0]}"))


def metrics() -> dict[str, Metric]:
    """The metrics of all evaluations, by the evaluation's name and their own: "core.l0"."""
    return {f"{name}.{metric}": described for name in NAMES for metric, described in load(name).METRICS.items()}
