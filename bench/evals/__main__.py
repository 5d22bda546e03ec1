"""``python -m bench.evals``: SAEBench's evaluations and the lab's on the same model, SAEs and texts.

Numbers stand beside numbers with the spread of SAEBench's seeds, seconds beside seconds. The model is the first twelve
layers of the embedded one, with `--quick` the first four. It takes minutes on two cores. SAEBench runs in an
environment of its own: `make sae-bench`.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait cost the other side its time

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.evals import job, ours, parity, saes
from bench.evals.compare import compare, cost_table, costs, passes, table
from bench.evals.growth import growth
from bench.evals.growth import table as growth_table
from bench.evals.plan import EVALS, FULL, GEMMA, GEMMA_SMALL, QUICK, Plan
from lab.errors import LabError
from lab.evals.base import Context

_ROOT = Path(__file__).resolve().parents[2]
ROWS = "theirs.json"
PYTHON = _ROOT / ".sae-bench-venv" / "bin" / "python"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments; those of the process when None.

    Returns:
        0 when the numbers agree (`compare.passes`), 1 when they do not, 2 when the bench could not be run.
    """
    options = _parser().parse_args(argv)
    if not PYTHON.is_file():
        sys.stderr.write("error: there is no environment .sae-bench-venv here: make sae-bench\n")
        return 2
    if options.write_parity:
        parity.write(options.write_parity, theirs)
        return 0
    plan = _plan(options)
    evals = [name for name in EVALS if name in (options.evals or ",".join(EVALS)).split(",")]
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(options.folder or name)
            ctx, rows = both(plan, folder, evals, options.device)
            grown = {} if options.dims else growth(plan, ctx, folder, evals)
    except (LabError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if options.json:
        sys.stdout.write(json.dumps(rows) + "\n")
    elif options.dims:
        sys.stdout.write(cost_table(costs(rows)))
    else:
        sys.stdout.write(f"{table(rows)}\n{cost_table(costs(rows))}\n{growth_table(grown)}{_legend(plan, rows)}")
    # Random weights say nothing, and are scored in bfloat16 there and in float32 here: only the cost is compared.
    return 0 if options.dims or passes(rows) else 1


def both(plan: Plan, folder: Path, evals: Sequence[str], device: str | None) -> tuple[Context, list[dict[str, Any]]]:
    """Run both sides on a job folder; where it holds SAEBench's rows of an earlier run, only the lab's.

    Returns:
        The lab's context, and rows as `compare` gives them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ctx = Context(job.profile(plan, job.model(plan, folder)), device)
    earlier = (folder / ROWS).is_file()
    if not earlier:
        chosen, acts = saes.make(ctx, plan.d_sae, plan.k, plan.steps, plan.tokens)
        job.write(plan, ctx, folder, evals, chosen, acts)
    own = ours.run(plan, ctx, folder, evals)
    return ctx, compare(_read(folder) if earlier else theirs(folder), own)


def theirs(folder: Path) -> list[dict[str, Any]]:
    """SAEBench's rows for a job folder, from a process of its own environment; what it says is kept in a file.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    script = Path(__file__).with_name("saebench_side.py")
    with (folder / "saebench.log").open("wb") as log:
        done = subprocess.run([str(PYTHON), str(script), str(folder)], stdout=log, stderr=log, check=False)
    if done.returncode:
        sys.stderr.write((folder / "saebench.log").read_text(encoding="utf-8", errors="replace")[-4000:] + "\n")
        done.check_returncode()
    return _read(folder)


def _read(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / ROWS).read_text(encoding="utf-8"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.evals", description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="a JSON list in place of the tables")
    parser.add_argument("--quick", action="store_true", help="four layers of the model, fewer seeds")
    parser.add_argument("--evals", help=f"only these of {', '.join(EVALS)}")
    parser.add_argument("--seeds", type=int, help="so many of SAEBench's seeds")
    parser.add_argument("--cpu-time", action="store_true", help="processor time, for a machine that has other work too")
    parser.add_argument("--device", help="cpu, cuda … (default: cuda where there is one)")
    parser.add_argument(
        "--dims", choices=("gemma", "gemma-small"), help="a model of gemma-2-2b's dimensions (small: much reduced)"
    )
    parser.add_argument(
        "--folder", type=Path, help="keep texts, SAEs and SAEBench's numbers here; the next run takes these"
    )
    parser.add_argument("--write-parity", type=Path, metavar="FILE", help="write the tests' parity set, nothing else")
    return parser


def _plan(options: argparse.Namespace) -> Plan:
    plan = {"gemma": GEMMA, "gemma-small": GEMMA_SMALL, None: QUICK if options.quick else FULL}[options.dims]
    return replace(plan, seeds=plan.seeds[: options.seeds], cpu_time=options.cpu_time)


def _legend(plan: Plan, rows: Sequence[dict[str, Any]]) -> str:
    apart = sum(not row["agrees"] for row in rows)
    return (
        f"\n{len(rows) - apart} of {len(rows)} numbers agree: within 1e-4 of SAEBench's, or within the range of its "
        f"{len(plan.seeds)} seeds (spread);\n"
        "TPP's threshold of 500 is not compared: so few latents have an effect that SAEBench takes arbitrary ones.\n"
        "both sides' values are means over the seeds, seconds are those of the first.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
