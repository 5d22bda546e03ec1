"""The growth of the lab's own cost with the SAE's width and with the text."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.evals import saes
from bench.evals.job import settings
from bench.evals.plan import Plan
from lab import artifact
from lab.evals import load
from lab.evals.base import Context

SIZES = (1, 2, 4)


def growth(plan: Plan, ctx: Context, folder: Path, evals: Sequence[str]) -> dict[str, list[dict[str, float]]]:
    """Seconds of one TopK SAE at three widths (all evaluations together) and at three amounts of text (core).

    Args:
        plan: the sizes; the first width and the first amount are its own.
        ctx: with the model under study.
        folder: the job folder, whose texts are used; SAEs are added to it.
        evals: which evaluations.

    Returns:
        By "d_sae" and "tokens": {"size", "seconds"}.
    """
    acts = saes.activations(ctx, plan.tokens)
    found: dict[str, list[dict[str, float]]] = {"d_sae": [], "tokens": []}
    widths = {}
    for times in SIZES:
        weights = saes.train(acts, plan.d_sae * times, plan.k, steps=0)
        sae = saes.variants(weights, plan.k, acts[:1024])["topk"]
        saved = saes.write(sae, f"wide{times}", folder, acts[:256])
        widths[plan.d_sae * times] = artifact.load(saved.folder, ctx.device)
    chosen = {name: settings(plan, name, folder) for name in evals}
    setups = {name: load(name).prepare(ctx, values) for name, values in chosen.items()}
    for d_sae, wide in widths.items():
        start = time.perf_counter()
        for name, values in chosen.items():
            load(name).score(ctx, setups[name], wide, values)
        found["d_sae"].append({"size": d_sae, "seconds": time.perf_counter() - start})
    base: Any = settings(plan, "core", folder)
    for times in SIZES:
        values = replace(
            base,
            reconstruction_batches=base.reconstruction_batches * times,
            sparsity_batches=base.sparsity_batches * times,
        )
        setup = load("core").prepare(ctx, values)
        start = time.perf_counter()
        load("core").score(ctx, setup, widths[plan.d_sae], values)
        tokens = values.batch_size * values.sparsity_batches * plan.context
        found["tokens"].append({"size": tokens, "seconds": time.perf_counter() - start})
    return found


def table(found: dict[str, list[dict[str, float]]]) -> str:
    """Three sizes of each, with the seconds over those of the first."""
    lines = ["the lab's seconds an SAE as it grows (1.0: the first)"]
    for name, rows in found.items():
        cells = (
            f"{row['size']:>9,}: {row['seconds']:7.2f} s ({row['seconds'] / rows[0]['seconds']:.1f})" for row in rows
        )
        lines.append(f"{name:<10}" + "".join(cells))
    return "\n".join(lines) + "\n"
