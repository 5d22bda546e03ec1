"""Baselines that the lab's cache keeps: what their scores depend on, what changed since, whether they are whole."""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.base.errors import AgentError
from agent.base.files import sha256
from agent.campaign.campaign import Campaign
from agent.campaign.folder import EXPERIMENT
from agent.results.read import load_result

KIND = "baselines"

# What a part of the conditions is called; a part that is not named here goes by its place.
_NAMES = {
    "template": "the template's experiment.py",
    "evals": "the choice of evaluations",
    "facts.subject": "the subject model",
    "facts.data": "the data",
    "facts.training": "the lab's training code",
    "facts.device": "the device",
    "facts.evals": "the evaluator of",
    "facts.versions": "the version of",
    "profile": "the profile's",
}
# Parts whose values say something to people; the others are hashes.
_READABLE = ("facts.device", "facts.versions", "profile")
# Of one SAE; version 0.1.0 wrote its encoder another way.
_SAE_FILES = (("sae.json",), ("weights.safetensors",), ("encode.json", "encode.pt2"))


@dataclass(frozen=True)
class Recipe:
    """The recipe of a set of baselines, made from the template.

    Args:
        settings: What replaces the template's own settings; `architecture` is one of them.
        seeds: A run for each.
    """

    settings: Mapping[str, Any]
    seeds: tuple[int, ...]

    @property
    def architecture(self) -> str:
        """The architecture it trains."""
        return str(self.settings["architecture"])

    def run_name(self, seed: int) -> str:
        """The name of the run with a seed, as it is kept."""
        return f"{self.architecture}_seed{seed}"

    def key(self, conditions: Mapping[str, Any]) -> dict[str, Any]:
        """The key of these baselines in the cache."""
        return {**conditions, "settings": dict(self.settings), "seeds": list(self.seeds)}


def conditions(campaign: Campaign, facts: dict[str, Any]) -> dict[str, Any]:
    """Everything that a baseline's scores depend on, beside its recipe.

    Args:
        campaign: The campaign; the template is the one it began with.
        facts: The lab's fingerprints, as `lab.prepare` writes them.

    Returns:
        A value that is equal where baselines may be shared.
    """
    left_out = {"path", "limits", "expected", "title", "baselines", "goals"}
    return {
        "template": sha256(campaign.workspace.at(campaign.state.template, EXPERIMENT)),
        "profile": campaign.profile.model_dump(mode="json", exclude=left_out),
        "evals": list(campaign.settings.evals or campaign.profile.default_evals),
        "facts": facts,
    }


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """List the changes between two sets of conditions, in words.

    Args:
        old: The conditions that baselines were made under.
        new: Those of now.

    Returns:
        A phrase for each part that differs, for example `the version of torch (2.10 to 2.11)`.
    """
    before, after = _parts(old), _parts(new)
    return [_phrase(part, before.get(part), after.get(part)) for part in after if before.get(part) != after[part]]


def other_conditions(recipe: Recipe, now: Mapping[str, Any]) -> tuple[Path, dict[str, Any]] | None:
    """The kept baselines of the same profile and recipe that were used last, made under other conditions.

    Args:
        recipe: What is wanted.
        now: The conditions of now.

    Returns:
        Their folder, and the conditions they were made under.
    """
    wanted = recipe.key(now)
    for path, key in _entries():
        if set(key) != set(wanted) or key == wanted:
            continue
        same = all(key[part] == wanted[part] for part in ("settings", "seeds"))
        if same and key["profile"]["name"] == wanted["profile"]["name"]:
            return path, {part: key[part] for part in now}
    return None


def with_seed(recipe: Recipe, now: Mapping[str, Any], seed: int) -> Path | None:
    """A kept run of a recipe with a seed, from a set with other seeds beside it, made under the conditions of now.

    Args:
        recipe: What is wanted.
        now: The conditions of now.
        seed: One of its seeds.
    """
    wanted, one = recipe.key(now), Recipe(recipe.settings, (seed,))
    for path, key in _entries():
        same = set(key) == set(wanted) and all(key[part] == wanted[part] for part in wanted if part != "seeds")
        if same and seed in key["seeds"] and not damage(path, one, now["facts"]["evals"]):
            return path / recipe.run_name(seed)
    return None


def of_other_versions(recipe: Recipe, now: Mapping[str, Any]) -> int:
    """The number of kept baselines that another version of this program wrote, under another kind of key."""
    wanted = set(recipe.key(now))
    return sum(set(key) != wanted for _, key in _entries())


def damage(folder: Path, recipe: Recipe, evaluators: Mapping[str, Any] | None) -> str:
    """Describe the damage of kept baselines; nothing when they are whole.

    Args:
        folder: Where they lie.
        recipe: What should be there.
        evaluators: What they should be scored by; None where that may differ.
    """
    for seed in recipe.seeds:
        run = folder / recipe.run_name(seed)
        try:
            result = load_result(run)
        except AgentError as error:
            return str(error).partition(";")[0]
        missing = [names[0] for names in _SAE_FILES if not any((run / "sae" / name).is_file() for name in names)]
        if missing:
            return f"{run / 'sae' / missing[0]} is missing"
        if evaluators is not None and result.evaluator != evaluators:
            return f"{run / 'results.json'} was made by another evaluator"
    return ""


def set_aside(folder: Path) -> Path:
    """Take a damaged entry out of the way; it is kept for whoever wants to look at it.

    Returns:
        Where it is now.
    """
    target = next(
        path
        for number in range(1, 10_000)
        if not (path := folder.with_name(f"{folder.name}.damaged-{number}")).exists()
    )
    return folder.rename(target)


def copy_seeds(source: Path, recipe: Recipe, folder: Path, name: str) -> list[str]:
    """Copy the runs of a kept baseline.

    Args:
        source: The cache's folder.
        recipe: What is in it.
        folder: Where the copies go; what is there under the same names is replaced.
        name: What the group is called there.

    Returns:
        The names of the copies.
    """
    names = []
    for seed in recipe.seeds:
        target = folder / f"{name}_seed{seed}"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source / recipe.run_name(seed), target)
        names.append(target.name)
    return names


def _entries() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Kept baselines and their keys, those used last first; a key that can't be read is empty."""
    from lab import cache
    from lab.errors import LabError

    for entry in sorted(cache.entries(), key=lambda entry: -entry.used):
        if entry.kind != KIND or "." in entry.name:
            continue
        try:
            key = cache.read_json(entry.path / "key.json")
        except LabError:
            key = {}
        yield entry.path, key if isinstance(key, dict) else {}


def _parts(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """The conditions as flat parts: `facts.versions.torch`, `profile.training.lr`."""
    parts: dict[str, Any] = {}
    for name, value in conditions.items():
        if name == "facts":
            for fact, what in value.items():
                nested = what.items() if fact in ("evals", "versions") else [("", what)]
                parts |= {f"facts.{fact}.{key}".rstrip("."): item for key, item in nested}
        elif name == "profile":
            parts |= dict(_leaves(name, value.items()))
        else:
            parts[name] = value
    return parts


def _leaves(place: str, items: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, Any]]:
    for name, value in items:
        if isinstance(value, Mapping):
            yield from _leaves(f"{place}.{name}", value.items())
        else:
            yield f"{place}.{name}", value


def _phrase(part: str, old: Any, new: Any) -> str:
    known = next(name for name in sorted(_NAMES, key=len, reverse=True) if part == name or part.startswith(f"{name}."))
    text = f"{_NAMES[known]} {part[len(known) + 1 :]}".strip()
    return f"{text} ({old} to {new})" if part.startswith(_READABLE) else text
