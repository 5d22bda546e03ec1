"""The baseline a run has to beat: TopK at the run's own L0, as large and as well tuned as the run.

An architecture's name says nothing of how strong it is, so TopK at the run's L0 is always part of the comparison. An L0
between two whole numbers lies on the line between TopK at both. Where a run has more latents, parameters or operations
a token, another learning rate, schedule or clipping, or takes more training compute or activations than the profile's
TopK, a TopK that has as much is trained.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agent.results.confounds import (
    L0,
    L0_TOLERANCE,
    MORE_FLOP,
    MORE_PARAMETERS,
    RATE_TOLERANCE,
    TOKENS_TOLERANCE,
    VOID,
    near,
)
from agent.results.read import Group, RunResult

REFERENCE = "topk"
# Settings of the training that help any architecture: what a run changes of them, its baseline is given too.
TUNED = ("lr", "warmup_fraction", "decay_fraction", "clip_norm")
_FARTHEST = 10.0
_TELLING = ("k", "d_sae", "passes", *TUNED)
AT_RUN = f"{REFERENCE}_at_"  # what TopK at the L0 of a run is called, before the run's name
# A baseline larger than this many times the profile's would cost more than the run that asks for it is worth.
LARGEST = 4.0

Settings = dict[str, Any]


@dataclass(frozen=True)
class Reference:
    """TopK as a run is compared with it.

    Args:
        groups: TopK at the run's L0: plain, and tuned as the run is; those of them that there are.
        missing: Settings of the TopKs that have to be trained first, beside those of the profile's own.
    """

    groups: tuple[Group, ...]
    missing: tuple[Settings, ...]


def find_reference(run: Group, known: Iterable[Group]) -> Reference | None:
    """The TopK that a run is compared with, of the baselines there are.

    Args:
        run: The run.
        known: All baselines, the profile's own first.

    Returns:
        What there is of it, and what is missing; None where no TopK can be set beside the run: the profile has none,
        the run's L0 is not known, or the run is too large.
    """
    topks = [group for group in known if group.architecture == REFERENCE]
    own = run.lookup(L0)
    if not topks or own is None or not math.isfinite(own.value) or own.value < 0.5:
        return None
    base, size = topks[0], _size(run, topks[0])
    passes = _passes(run, base, size or {})
    if size is None or passes is None:
        return None
    size |= passes
    found: list[Group] = []
    missing: list[Settings] = []
    for tuned in _tunings(run, base):
        ends = [_find({**size, **tuned, "k": k}, topks, base) for k in _around(own.value)]
        missing += [{**size, **tuned, "k": k} for k, end in zip(_around(own.value), ends) if end is None]
        there = [end for end in ends if end is not None]
        if len(there) == len(ends):
            found.append(between(there, run.name, own.value) if len(there) == 2 else there[0])
    return Reference(tuple(found), tuple(missing))


def between(ends: Sequence[Group], run: str, l0: float) -> Group:
    """TopK at an L0 between two others: each seed's scores on the line between its two.

    Args:
        ends: TopK at a smaller L0, and at a larger one with the same seeds.
        run: What it is compared with.
        l0: The L0 of that.
    """
    low, high = ends
    at = [group.lookup(L0) for group in ends]
    known = [value.value for value in at if value is not None]
    share = (l0 - known[0]) / (known[1] - known[0]) if len(known) == 2 and known[0] != known[1] else 0.5
    share = min(max(share, 0.0), 1.0)
    others = {one.seed: one for one in high.runs}
    runs = tuple(_mixed(one, others[one.seed], share) for one in low.runs if one.seed in others)
    return Group(f"{AT_RUN}{run}", runs or low.runs, (low.name, high.name))


def _mixed(low: RunResult, high: RunResult, share: float) -> RunResult:
    metrics = {
        name: replace(value, value=(1 - share) * value.value + share * high.metrics[name].value)
        for name, value in low.metrics.items()
        if name in high.metrics
    }
    return replace(low, metrics=metrics)


def _around(l0: float) -> tuple[int, ...]:
    """The whole numbers of active latents at an L0, or on both sides of it."""
    nearest = max(1, round(l0))
    return (nearest,) if l0 < 1 or near(l0, nearest, L0_TOLERANCE) else (math.floor(l0), math.ceil(l0))


def _size(run: Group, base: Group) -> Settings | None:
    """The dictionary size of a TopK with as many latents, parameters and operations a token as a run.

    Returns:
        Nothing where the profile's own will do; None where it would be too large.
    """
    latents, usual = run.lookup("sae.d_sae"), base.lookup("sae.d_sae")
    if latents is None or usual is None:
        return {}
    wanted = latents.value
    for what, allowed in (("parameters", MORE_PARAMETERS), ("encode_flop", MORE_FLOP)):
        ours, theirs = run.lookup(f"sae.{what}"), base.lookup(f"sae.{what}")
        if ours and theirs and ours.value > allowed * theirs.value * wanted / usual.value:
            wanted = max(wanted, math.ceil(usual.value * ours.value / theirs.value))
    if wanted > LARGEST * usual.value:
        return None
    return {} if wanted == usual.value else {"d_sae": int(wanted)}


def _passes(run: Group, base: Group, size: Settings) -> Settings | None:
    """The number of times that a TopK of a size has to go through its batches to be trained as much as a run.

    Returns:
        Nothing where once will do; None where it would be too often.
    """
    latents = base.lookup("sae.d_sae")
    wider = size["d_sae"] / latents.value if latents and "d_sae" in size else 1.0
    wanted = 1.0
    for what, allowed, usual in (("flop", VOID, max(1.0, wider)), ("rows", 1 + TOKENS_TOLERANCE, 1.0)):
        ours, theirs = run.lookup(f"training.{what}"), base.lookup(f"training.{what}")
        if ours and theirs and theirs.value > 0 and ours.value > allowed * usual * theirs.value:
            wanted = max(wanted, ours.value / (usual * theirs.value))
    if wanted > LARGEST:
        return None
    return {} if wanted == 1.0 else {"passes": math.ceil(2 * wanted - 0.02) / 2}


def _tunings(run: Group, base: Group) -> tuple[Settings, ...]:
    """The settings of the plain TopK, none, and of one that is tuned as the run is, where that is another."""
    ours, theirs = settings_of(run), settings_of(base)
    changed = {name: ours[name] for name in TUNED if name in ours and ours[name] != theirs.get(name)}
    rate, usual = (_rate(group) for group in (run, base))
    if rate and usual and theirs.get("lr"):
        # The largest rate that a step had, which is the setting's where the loop makes no other of it.
        changed.pop("lr", None)
        if not near(rate, usual, RATE_TOLERANCE):
            changed["lr"] = float(f"{theirs['lr'] * rate / usual:.4g}")
    # Far from the profile's it is another optimiser's rate, with which TopK's would only fail.
    if "lr" in changed and theirs.get("lr") and not 1 / _FARTHEST <= changed["lr"] / theirs["lr"] <= _FARTHEST:
        del changed["lr"]
    return ({}, changed) if changed else ({},)


def _rate(group: Group) -> float:
    value = group.lookup("training.learning_rate")
    return value.value if value else 0.0


def _find(wanted: Mapping[str, Any], topks: Iterable[Group], base: Group) -> Group | None:
    asked = {name: {**settings_of(base), **wanted}.get(name) for name in _TELLING}
    return next(
        (group for group in topks if all(settings_of(group).get(name) == value for name, value in asked.items())), None
    )


def settings_of(group: Group) -> Mapping[str, Any]:
    """The settings that a group's runs were trained with, and how often they went through their batches."""
    training = group.runs[0].training
    passes = {"passes": training["passes"]} if "passes" in training else {}
    return {**training.get("settings", {}), **passes}


def group_name(settings: Mapping[str, Any]) -> str:
    """The name of a trained TopK, such as `topk_l0_47` or `topk_l0_32_d_sae_3072`."""
    more = "".join(f"_{name}_{settings[name]:g}" for name in ("d_sae", "passes", *TUNED) if name in settings)
    return f"{REFERENCE}_l0_{settings['k']}{more}"
