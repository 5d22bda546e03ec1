"""A grid of baselines, several architectures at several L0, trained and scored once and kept: the frontier to beat.

    python -m lab.grid [--architectures topk,relu,jumprelu] [--l0 16,32,64] [--seeds 0,1,2] [--profile NAME]

What is there already is not made again, so a grid that was stopped goes on, and one that is widened costs what is new.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import cache
from lab.architectures import TABLE
from lab.baselines import KIND, baseline
from lab.errors import LabError
from lab.evaluate import RESULTS, evaluate
from lab.settings import DEFAULT_PROFILE, Profile, load_profile

DEFAULT = ("topk", "relu", "jumprelu")


@dataclass(frozen=True)
class Point:
    """One baseline of the grid. `l0` is the one that was wanted; what it reached is among its scores."""

    architecture: str
    l0: float
    seed: int
    folder: Path


def make_grid(
    profile: Profile,
    architectures: Sequence[str] = DEFAULT,
    l0s: Sequence[float] = (),
    seeds: Sequence[int] = (),
    evals: Sequence[str] | None = None,
    device: str | None = None,
) -> list[Point]:
    """Train and score what the cache lacks.

    Args:
        profile: the model, the data, the budget and the evaluations' settings.
        architectures: names, of `lab.architectures.TABLE`.
        l0s: wanted mean numbers of active latents a token; half, once and twice the profile's k when empty.
        seeds: those that the profile's baselines start with when empty.
        evals: names; None takes the profile's default ones.
        device: "cpu", "cuda" …; None takes CUDA where there is one.

    Returns:
        All points, in the order of the arguments, each with `results.json` in its folder.

    Raises:
        LabError: a name is unknown, an L0 cannot be had, or the disk is full; what was made before is kept.
    """
    k = profile.training.k
    points = [
        Point(architecture, l0, seed, baseline(profile, architecture, l0, seed, device))
        for architecture in architectures
        for l0 in l0s or (k / 2, k, 2 * k)
        for seed in seeds or profile.baselines.first_seeds
    ]
    evaluate([point.folder for point in points], profile, evals, device)
    return points


def kept_points(profile: Profile) -> Iterator[Point]:
    """The points of the cache that were trained with a profile's budget and are scored.

    They may be of other data, another device or an older evaluator: their records say so.
    """
    wanted = cache.fingerprint(profile.training)
    for entry in cache.entries():
        if entry.kind != KIND or not (entry.path / RESULTS).is_file():
            continue
        try:
            key: dict[str, Any] = cache.read_json(entry.path / "key.json")
        except LabError:  # damaged: the others are of use without it
            continue
        if cache.fingerprint(key["training"]) == wanted:
            yield Point(key["architecture"], float(key["l0"]), int(key["seed"]), entry.path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lab.grid", description="Train and score a grid of baselines.")
    parser.add_argument("--architectures", default=",".join(DEFAULT), help=f"of {', '.join(TABLE)}")
    parser.add_argument("--l0", default="", help="with commas (default: half, once and twice the profile's k)")
    parser.add_argument("--seeds", default="", help="with commas (default: the profile's first)")
    parser.add_argument("--evals", help="evaluations, with commas, or all (default: the profile's)")
    parser.add_argument("--profile", default=DEFAULT_PROFILE, help=f"a profile's name or file ({DEFAULT_PROFILE})")
    parser.add_argument("--device", help="cpu, cuda … (default: cuda where there is one)")
    options = parser.parse_args(arguments)
    try:
        points = make_grid(
            load_profile(options.profile),
            options.architectures.split(","),
            [_number(text, float) for text in options.l0.split(",") if text],
            [_number(text, int) for text in options.seeds.split(",") if text],
            options.evals and options.evals.split(","),
            options.device,
        )
        for point in points:
            sys.stdout.write(
                f"{point.architecture:12} L0 {point.l0:<6g} seed {point.seed}  {_headline(point.folder)}\n"
            )
    except LabError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def _number(text: str, kind: type[float]) -> Any:
    try:
        return kind(text)
    except ValueError as error:
        raise LabError(f"{text!r} is not a number: give them with commas, such as 16,32,64") from error


def _headline(folder: Path) -> str:
    """The headline metrics of one point, on a line."""
    entries = cache.read_json(folder / RESULTS)["entries"]
    shown = (
        f"{name} {metric['value']:.4g}"
        for entry in entries.values()
        for name, metric in entry["metrics"].items()
        if metric["headline"]
    )
    return ", ".join(shown)


if __name__ == "__main__":
    sys.exit(main())
