"""The lab's side of a job: the same rows as SAEBench's, with set-up made anew so that its time is counted."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bench.evals.job import settings
from bench.evals.plan import Plan
from bench.evals.saes import KINDS
from lab import artifact
from lab.artifact import Artifact
from lab.cache import ROOT_VARIABLE
from lab.evals import load
from lab.evals.base import Context


def run(plan: Plan, ctx: Context, folder: Path, evals: Sequence[str]) -> list[dict[str, Any]]:
    """Score the job's SAEs.

    Returns:
        {"eval", "sae", "seed", "metrics", "seconds", "setup_seconds"} for each evaluation, SAE and seed.
    """
    loaded = {name: artifact.load(folder / "runs" / name / "sae", ctx.device) for name in KINDS}
    now = time.process_time if plan.cpu_time else time.perf_counter
    rows = []
    for seed in plan.seeds:
        # One cache for all evaluations of a call, as a user has it: sparse probing and TPP share their residuals.
        with _empty_cache():
            for name in evals:
                chosen = settings(plan, name, folder)
                if hasattr(chosen, "seed"):
                    rows += _score(name, replace(chosen, seed=seed), seed, ctx, loaded, now)
                elif seed == plan.seeds[0]:
                    rows += _score(name, chosen, seed, ctx, loaded, now)
    return rows


def _score(
    name: str, chosen: Any, seed: int, ctx: Context, loaded: Mapping[str, Artifact], now: Callable[[], float]
) -> list[dict[str, Any]]:
    """One evaluation of all SAEs with one seed."""
    module = load(name)
    if name == "core":
        ctx.held_out(chosen.batch_size * chosen.sparsity_batches)  # SAEBench is given tokens, not text
    start = now()
    setup = module.prepare(ctx, chosen)
    setup_seconds = _waited(ctx, now) - start
    rows = []
    for sae_name, sae in loaded.items():
        start = now()
        scores = module.score(ctx, setup, sae, chosen)
        seconds = _waited(ctx, now) - start
        row = {"eval": name, "sae": sae_name, "seed": seed, "metrics": _as_saebench(scores.metrics)}
        rows.append({**row, "seconds": seconds, "setup_seconds": setup_seconds})
        sys.stderr.write(f"lab: {name} {sae_name} seed {seed}: {seconds:.1f} s, set-up {setup_seconds:.1f} s\n")
    return rows


def _as_saebench(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics under SAEBench's names: those that mean something else in the lab have its number under another name."""
    theirs = {name.removesuffix("_saebench"): value for name, value in metrics.items() if name.endswith("_saebench")}
    return {**{name: value for name, value in metrics.items() if not name.endswith("_saebench")}, **theirs}


@contextmanager
def _empty_cache() -> Iterator[None]:
    """A cache folder of its own, so that no set-up is found in it."""
    before = os.environ.get(ROOT_VARIABLE)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[ROOT_VARIABLE] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ[ROOT_VARIABLE]
            else:
                os.environ[ROOT_VARIABLE] = before


def _waited(ctx: Context, now: Callable[[], float]) -> float:
    """The time when the GPU's work is done too."""
    if ctx.device.type == "cuda":
        torch.cuda.synchronize()
    return now()
