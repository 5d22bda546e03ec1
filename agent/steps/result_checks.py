"""The gate after a run: its result has to be its own, and all of the edit has to have run."""

import json
from collections.abc import Iterable
from pathlib import Path

from agent.campaign.folder import EXPERIMENT
from agent.campaign.record import Record
from agent.campaign.state import Run
from agent.gates.changed import never_ran
from agent.results.read import RunResult

# Relative distance of two sets of weights that are the same up to rounding.
SAME = 1e-4


def idle_parts(record: Record, this: Run, lines: Path) -> list[str]:
    """The changed parts of an edit that a whole run never reached, in words.

    Args:
        record: The campaign.
        this: The run, trained.
        lines: The report of `lab.runner`.
    """
    parent = record.folder.at(this.attempts[0].parent, EXPERIMENT)
    try:
        ran = set(json.loads(lines.read_text(encoding="utf-8"))["lines"])
    except (OSError, ValueError, KeyError):
        return ["it is not known which lines ran: the report is missing"]
    return [str(region) for region in never_ran(parent, record.folder.read(EXPERIMENT), ran)]


def objections(record: Record, this: Run, result: RunResult) -> str:
    """Why a score is not a result of the run's code; empty when it is.

    Args:
        record: The campaign.
        this: The run.
        result: What was read from its folder.
    """
    if objection := foreign(record, result):
        return objection
    folder = record.folder.run_dir(this.number)
    others = {run.name: run for group in record.baselines.values() for run in group.runs}
    places = {name: record.folder.run_dir(0) / name for name in others}
    places |= {f"run_{run.number}": record.folder.run_dir(run.number) for run in record.state.scored}
    for name, place in places.items():
        if same_weights(folder / "sae", place / "sae"):
            return f"its SAE has the same weights as {name}"
    return ""


def foreign(record: Record, result: RunResult) -> str:
    """Why a score is not that of the SAE that was saved beside it, from the batches of its seed; empty when it is."""
    if result.training.get("sae") != result.weights:
        return "the SAE that was scored is not the one that the run saved"
    others = (run for group in record.baselines.values() for run in group.runs)
    return "" if _own_batches(record, result, others) else "it was given other batches than its seed has"


def _own_batches(record: Record, result: RunResult, baselines: Iterable[RunResult]) -> bool:
    """Tell whether a run was handed the batches of its seed: by its record, or as a baseline of its seed was."""
    from lab.seeds import digest

    told, sizes = result.training, record.profile.training
    steps = told.get("steps")
    if result.seed is not None and isinstance(steps, int) and 0 <= steps <= sizes.steps:
        expected = digest(result.seed, record.profile.activations.tokens, sizes.batch_size, steps)
        if told.get("batches") == expected:
            return True
    return any(other.training.get("batches") == told.get("batches") for other in baselines)


def same_weights(one: Path, other: Path) -> bool:
    """Tell whether two saved SAEs hold the same tensors, up to rounding, and encode alike.

    Args:
        one: The folder of an SAE.
        other: Another; one that is not there is not the same.
    """
    from safetensors.numpy import load_file

    if not (other / "weights.safetensors").is_file():
        return False
    encoders = [folder / "encode.json" for folder in (one, other)]
    if all(path.is_file() for path in encoders) and encoders[0].read_bytes() != encoders[1].read_bytes():
        return False
    ours, theirs = (load_file(folder / "weights.safetensors") for folder in (one, other))
    return ours.keys() == theirs.keys() and all(_near(ours[name], theirs[name]) for name in ours)


def _near(ours: object, theirs: object) -> bool:
    import numpy as np

    one, other = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return one.shape == other.shape and float(np.linalg.norm(one - other)) <= SAME * float(np.linalg.norm(other))
