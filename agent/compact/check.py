"""Contradictions in results: parts of another SAE, copies, old scores, settings that do not agree."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from agent.compact.forms import Part, Results, plain

LONGEST_GAP_HOURS = 3.0
L0_TOLERANCE = 0.05
DENSE_SHARE = 0.1
_MATCHED = ("model", "layer", "profile", "d_sae", "k", "target_l0", "steps", "tokens", "batch_size", "lr", "seed")


def problems_of(result: Results) -> list[str]:
    """The contradictions in one dict of results, the gravest first; each a line for the reader."""
    return [
        *_cut_off(result),
        *_other_saes(result),
        *_other_times(result),
        *_not_finite(result),
        *_other_sparsity(result),
        *(f"training: {words}" for words in result.disagreeing),
        *_other_evaluators(result),
        *_other_means(result),
    ]


def problems_between(results: Sequence[Results]) -> list[list[str]]:
    """The contradictions between results: for each result a list of lines. Results are numbered from 1."""
    found: list[list[str]] = [[] for _ in results]
    for number, result in enumerate(results):
        copies: dict[str, list[int]] = {}
        for other, against in enumerate(results):
            if other == number or not _differ(result, against):
                continue
            for name in result.parts:
                if name in against.parts and _same_scores(result.parts[name], against.parts[name]):
                    copies.setdefault(name, []).append(other)
        for name, others in copies.items():
            numbers = ", ".join(str(other + 1) for other in others)
            differing = ", ".join(_differences(result, results[others[0]], without=name)[:3])
            found[number].append(
                f"{name} looks stale: identical to the last digit in result {numbers}, which differs in {differing}"
            )
        if number > 0:
            unmatched = _unmatched(results[0], result)
            if unmatched:
                found[number].append(f"not matched with result 1: {', '.join(unmatched)}")
        found[number] += _moving_baseline(results[0], result) if number > 0 else []
    return found


def _cut_off(result: Results) -> list[str]:
    return [f"the dict is cut off {result.torn}: what follows is missing"] if result.torn else []


def _reference(result: Results) -> dict[str, Any]:
    """The identity of the SAE: as training says, else as most parts say."""
    reference: dict[str, Any] = {}
    names = dict.fromkeys(name for part in result.parts.values() for name in part.identity)
    for name in (*result.identity, *names):
        if name in reference:
            continue
        if name in result.identity:
            reference[name] = result.identity[name]
            continue
        said = [part.identity[name] for part in result.parts.values() if name in part.identity]
        reference[name] = max(said, key=said.count)
    return reference


def _other_saes(result: Results) -> list[str]:
    reference = _reference(result)
    found = []
    for name, part in result.parts.items():
        wrong = [key for key, item in part.identity.items() if _folded(item) != _folded(reference[key])]
        if wrong:
            theirs = ", ".join(f"{key} {_short(part.identity[key])}" for key in wrong)
            ours = ", ".join(f"{key} {_short(reference[key])}" for key in wrong)
            found.append(f"{name} is of another SAE: {theirs}; the rest has {ours}")
    return found


def _folded(value: Any) -> str:
    return str(value).lower()


def _short(value: Any) -> str:
    text = plain(value)
    return text if len(text) <= 24 else text[:12] + "…"


def _other_times(result: Results) -> list[str]:
    dated = sorted((part.made, name) for name, part in result.parts.items() if part.made is not None)
    for (before, _), (after, name) in reversed(list(itertools.pairwise(dated))):
        hours = (after - before) / 3600.0
        if hours > LONGEST_GAP_HOURS:
            old = [part for made, part in dated if made <= before]
            made = datetime.fromtimestamp(before, UTC).strftime("%Y-%m-%d %H:%M")
            return [f"{', '.join(old)} may be stale: made {made} UTC, {hours:.1f} h before {name}, the next one"]
    return []


def _not_finite(result: Results) -> list[str]:
    found = [
        f"{name}.{key}" for name, part in result.parts.items() for key, item in part.exact.items() if not _finite(item)
    ]
    return [f"not a finite number: {', '.join(found[:4])}"] if found else []


def _finite(value: float) -> bool:
    return math.isfinite(value)


def _other_sparsity(result: Results) -> list[str]:
    core = result.parts.get("core")
    l0 = core.exact.get("l0") if core is not None else None
    if l0 is None or not _finite(l0):
        return []
    found = []
    for name in ("k", "target_l0"):
        asked = result.settings.get(name)
        if isinstance(asked, int | float) and asked > 0 and abs(l0 - asked) > L0_TOLERANCE * asked:
            found.append(f"the measured l0 is {plain(l0)}, but {name} is {plain(asked)}")
    size = result.settings.get("d_sae")
    if isinstance(size, int | float) and size > 0 and l0 > DENSE_SHARE * size:
        found.append(f"l0 {plain(l0)} is {100 * l0 / size:.0f}% of the dictionary: not sparse, so scores flatter it")
    return found


def _other_evaluators(result: Results) -> list[str]:
    # Ours has one version for each evaluation, so only the old kind, with one for all, can be compared.
    said = {name: part.evaluator for name, part in result.parts.items() if part.evaluator and part.made is not None}
    versions = list(dict.fromkeys(said.values()))
    if len(versions) < 2:
        return []
    most = max(versions, key=lambda version: sum(item == version for item in said.values()))
    odd = [f"{name} ({version})" for name, version in said.items() if version != most]
    return [f"evaluator versions differ: {', '.join(odd)}, the rest {most}"]


def _other_means(result: Results) -> list[str]:
    found = []
    for name, part in result.parts.items():
        for key, mean in part.means.items():
            told = part.exact.get(key)
            if told is not None and abs(told - mean) > 1e-6 + 1e-4 * abs(mean):
                found.append(f"{name}.{key} is {plain(told)}, but its details have the mean {plain(mean)}")
    return found


def _same_scores(first: Part, second: Part) -> bool:
    """Identical in every digit, with at least one number that has enough digits to be no coincidence."""
    if first.exact != second.exact:
        return False
    return any(_digits(value) > 6 for value in first.exact.values())


def _digits(value: float) -> int:
    return len(repr(abs(value)).split("e")[0].replace(".", "").strip("0")) if _finite(value) else 0


def _differ(first: Results, second: Results) -> bool:
    return bool(_differences(first, second))


def _differences(first: Results, second: Results, without: str = "") -> list[str]:
    """In what two results differ: settings and weights first, then scores."""
    found = [
        f"{name}"
        for name in first.identity
        if name in second.identity and name != "d_in" and _other(first.identity, second.identity, name)
    ]
    names = [name for name in first.settings if name in second.settings]
    found += [name for name in names if name not in found and _other(first.settings, second.settings, name)]
    for name, part in first.parts.items():
        if name == without or name not in second.parts:
            continue
        theirs = second.parts[name].exact
        found += [f"{name}.{key}" for key, item in part.exact.items() if key in theirs and theirs[key] != item][:1]
    return found


def _other(first: dict[str, Any], second: dict[str, Any], name: str) -> bool:
    return _folded(first[name]) != _folded(second[name])


def _unmatched(first: Results, result: Results) -> list[str]:
    found = [
        f"{name} {plain(result.settings[name])} ({plain(first.settings[name])})"
        for name in _MATCHED
        if name in result.settings and name in first.settings and _other(result.settings, first.settings, name)
    ]
    cores = (result.parts.get("core"), first.parts.get("core"))
    ours, theirs = (core.exact.get("l0") if core is not None else None for core in cores)
    if ours is not None and theirs is not None and abs(ours - theirs) > L0_TOLERANCE * max(abs(theirs), 1e-9):
        found.append(f"l0 {plain(ours)} ({plain(theirs)})")
    return found


def _moving_baseline(first: Results, result: Results) -> list[str]:
    """The language model's own score has nothing to do with the SAE: where it moves, the evaluation has noise."""
    for name, part in result.parts.items():
        before = first.parts[name].baseline if name in first.parts else {}
        moved = {key: abs(item - before[key]) for key, item in part.baseline.items() if key in before}
        if moved and max(moved.values()) > 1e-9:
            key = max(moved, key=lambda key: moved[key])
            return [
                f"{name} has noise: {key}, the same model without an SAE, is {plain(part.baseline[key])} "
                f"({plain(before[key])} in result 1)"
            ]
    return []
