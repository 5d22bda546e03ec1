"""The place in the model that an SAE reads, checked against the one that a profile scores at."""

from __future__ import annotations

import re

from lab.errors import LabError
from lab.settings import Profile

# transformer_lens' names and those of transformers' modules; the layers between are counted from 0.
_AFTER = re.compile(r"blocks\.(?P<post>\d+)\.hook_resid_post|blocks\.(?P<pre>\d+)\.hook_resid_pre|(.*\.)?\w+\.(\d+)")


def check_place(what: str, d_in: int, hook: object, d_model: int | None, profile: Profile) -> None:
    """Refuse an SAE that reads another width or place of the model than the profile scores.

    Args:
        what: the SAE, for the line.
        d_in: the width that it reads.
        hook: the name of the place that it reads; None where that is not known.
        d_model: the model's width; None for an evaluation that looks at weights alone.
        profile: its subject says which layer is scored.

    Raises:
        LabError: it does.
    """
    hint = f"name the profile it was trained with by --profile (now {profile.name})"
    if d_model not in (None, d_in):
        raise LabError(f"{what} reads {d_in} numbers a token and {profile.subject.name} has {d_model}: {hint}")
    if isinstance(hook, str) and _layer(hook) != profile.subject.layer:
        place = f"blocks.{profile.subject.layer}.hook_resid_post"
        raise LabError(f"{what} reads {hook} and what is scored is {place} of {profile.subject.name}: {hint}")


def _layer(hook: str) -> int | None:
    """The layer, from 0, after which the residual stream is read; None for any other place."""
    found = _AFTER.fullmatch(hook)
    if found is None:
        return None
    if found["pre"]:
        return int(found["pre"]) - 1
    return int(found["post"] or found[4])
