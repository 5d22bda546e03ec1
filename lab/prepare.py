"""The making of what all runs of a profile share, once: the converted model, the activations, the evaluations' set-up.

    python -m lab.prepare [--profile NAME] [--evals core,absorption] [--device cpu] [--facts FILE]

Nothing depends on this being called: each part is made where it is first needed. Called first, it shows how far it is,
and `--facts` writes the fingerprints that a result depends on.
"""

import argparse
import hashlib
import importlib.metadata
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lab import cache
from lab.errors import LabError
from lab.settings import DEFAULT_PROFILE, Profile, load_profile

# What the training of an SAE depends on, beside the experiment's own code.
_TRAINING_SOURCES = (
    "training.py",
    "batches.py",
    "meter.py",
    "schedule.py",
    "seeds.py",
    "numerics.py",
    "sparse.py",
    "artifact.py",
    "folding.py",
    "graphs.py",
    "activations.py",
    "corpus.py",
)
_VERSIONS = ("torch", "transformers", "numpy")


def prepare(profile: Profile, evals: Iterable[str] | None = None, device: str | None = None) -> dict[str, Any]:
    """Make what is missing.

    Args:
        profile: whose parts.
        evals: names, or "all"; None takes the profile's default ones.
        device: "cpu", "cuda" …; None takes CUDA where there is one.

    Returns:
        The fingerprints of the subject model, the activations, the lab's training code and each evaluation, and the
        versions of the numeric libraries: two runs with equal facts may be compared.

    Raises:
        LabError: the model or the text cannot be had, or the disk is full.
    """
    from lab.activations import open_store
    from lab.evals import choose, load
    from lab.evals.base import Context, read_settings

    ctx = Context(profile, device)
    store = open_store(profile, device=device)
    keys = {}
    for name in choose(evals if evals is not None else profile.default_evals):
        module = load(name)
        settings = read_settings(module, name, profile.evals.get(name, {}))
        module.prepare(ctx, settings)
        keys[name] = ctx.key(name, module, settings)
    return {
        "subject": ctx.subject_fingerprint,
        "data": store.fingerprint,
        "training": _training_code(),
        "evals": keys,
        "device": _device_name(ctx.device),
        "versions": {name: importlib.metadata.version(name) for name in _VERSIONS},
    }


def _training_code() -> str:
    home = Path(__file__).parent
    return hashlib.sha256(b"\0".join((home / name).read_bytes() for name in _TRAINING_SOURCES)).hexdigest()[:16]


def _device_name(device: Any) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device.type)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lab.prepare", description="Make what all runs of a profile share.")
    parser.add_argument("--profile", default=DEFAULT_PROFILE, help=f"a profile's name or file ({DEFAULT_PROFILE})")
    parser.add_argument("--evals", help="evaluations, separated by commas, or all (default: the profile's)")
    parser.add_argument("--device", help="cpu, cuda … (default: cuda where there is one)")
    parser.add_argument("--facts", type=Path, metavar="FILE", help="write the fingerprints there, as JSON")
    options = parser.parse_args(arguments)
    try:
        facts = prepare(load_profile(options.profile), options.evals and options.evals.split(","), options.device)
        if options.facts:
            cache.write_json(options.facts, facts)
    except LabError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
