"""Scoring SAEs from their saved folders, in a process that runs nothing of the experiment's code.

    python -m lab.evaluate RUN_DIR [RUN_DIR ...] [--evals core,absorption] [--profile NAME] [--device cpu]

reads `RUN_DIR/sae/` and writes `RUN_DIR/results.json`: an entry for each evaluation with its metrics, their directions
and the key it is addressed by. An entry is used again only when its whole key is the same: the SAE's weights and
graphs, the evaluator's source and settings, the text, the model, device and dtype.
"""

# ruff: noqa: E402
import os
import sys


def _leave_out(*folders: str) -> None:
    """Take folders off the module search path: a file there named like a library must not be imported for it."""
    home = os.path.realpath(os.path.join(os.path.dirname(__file__), os.pardir))  # noqa: PTH118, PTH120
    unwanted = {os.path.realpath(folder) for folder in folders} - {home}
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry or os.curdir) not in unwanted]


if __name__ == "__main__":
    _leave_out(os.curdir)  # before anything but built-in modules is imported
    # Threads that spin while they wait cost several times the work itself on a machine that has something else to do.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import cache
from lab.errors import LabError
from lab.evals import JUDGED, NAMES, choose, load
from lab.settings import DEFAULT_PROFILE, Profile, load_profile

if TYPE_CHECKING:
    from lab.artifact import Artifact
    from lab.evals.base import Evaluation, Scores, Setup
    from lab.judge import Judge

SCHEMA = 1
RESULTS = "results.json"
SAE_FOLDER = "sae"
PROFILE_VARIABLE = "SAE_LAB_PROFILE"


def evaluate(
    run_dirs: Sequence[Path | str],
    profile: Profile | str | None = None,
    evals: Iterable[str] | None = None,
    device: str | None = None,
    judge: "Judge | None" = None,
    announce: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """Score the SAE of each run folder and write its results.json; what is there under the same key is kept.

    Args:
        run_dirs: folders with `sae/` in them.
        profile: its name, path or value; None takes SAE_LAB_PROFILE, else what the first SAE was trained with.
        evals: names, or "all"; None takes the profile's default ones.
        device: "cpu", "cuda" …; None takes CUDA where there is one.
        judge: the language model that autointerp asks (`lab.judge`); without one it is left out of "all".
        announce: is given a line about what is left out, and about what costs money before it does.

    Returns:
        What each results.json then says, in the order of `run_dirs`.

    Raises:
        LabError: a folder holds no whole SAE, it does not fit the model, a name is unknown, or the disk is full.
            Results of the runs before it, and of the evaluations before it, are written.
    """
    from lab import artifact
    from lab.evals.base import Context, read_settings

    folders = [Path(folder) for folder in run_dirs]
    chosen = profile if isinstance(profile, Profile) else load_profile(profile or _profile_name(folders))
    names = choose(_answerable(evals if evals is not None else chosen.default_evals, judge, announce))
    ctx = Context(chosen, device, judge, announce)
    plans = []
    for name in names:
        module = load(name)
        settings = read_settings(module, name, chosen.evals.get(name, {}))
        key = ctx.key(name, module, settings)
        if name in JUDGED and judge is not None:
            key["judge"] = judge.name
        plans.append((name, module, settings, key))
    setups: dict[str, Setup] = {}
    found = []
    for folder in folders:
        sae = artifact.load(folder / SAE_FOLDER, ctx.device)
        results = _Results(folder / RESULTS, sae.fingerprint, chosen.name)
        for name, module, settings, key in plans:
            whole_key = {"sae": sae.fingerprint, **key}
            if results.has(name, whole_key):
                continue
            setup = setups[name] = setups[name] if name in setups else module.prepare(ctx, settings)
            _check_width(sae, setup, chosen)
            start = time.perf_counter()
            scores = module.score(ctx, setup, sae, settings)
            results.put(name, _entry(module, whole_key, scores, time.perf_counter() - start))
        found.append(results.value)
    return found


def _answerable(evals: Iterable[str], judge: "Judge | None", announce: Callable[[str], None]) -> list[str]:
    """The evaluations asked for; "all" becomes those that can be run, for a judge is not there unless it was named.

    Raises:
        LabError: an evaluation is asked for by name that needs a judge, and there is none.
    """
    names = list(evals)
    if judge is not None:
        return names
    for name in JUDGED:
        if name in names:
            raise LabError(f"{name} asks a language model: name one by --{name}-model openai:NAME or anthropic:NAME")
    if "all" not in names:
        return names
    announce(f"left out of all: {', '.join(JUDGED)}, which asks a language model (--autointerp-model names one)")
    plain = [name for name in NAMES if name not in JUDGED]
    return [each for name in names for each in (plain if name == "all" else [name])]


def _check_width(sae: "Artifact", setup: "Setup", profile: Profile) -> None:
    if setup.d_model not in (None, sae.d_in):
        raise LabError(
            f"{sae.folder} reads {sae.d_in} numbers a token and {profile.subject.name} has {setup.d_model}: name the "
            f"profile it was trained with by --profile (now {profile.name})"
        )


def _entry(module: "Evaluation", key: dict[str, str], scores: "Scores", seconds: float) -> dict[str, Any]:
    metrics = {}
    for name, value in scores.metrics.items():
        metric = module.METRICS[name]
        metrics[name] = {"value": value, "better": metric.better, "unit": metric.unit, "headline": metric.headline}
    return {
        "key": key,
        "metrics": metrics,
        "details": scores.details,
        "seconds": round(seconds, 3),
        "peak_memory_mb": round(_peak_memory_mb(), 1),
    }


class _Results:
    """One results.json, read anew before each write, so that two processes do not drop each other's entries."""

    def __init__(self, path: Path, sae: str, profile: str) -> None:
        self.path = path
        self._head = {"schema": SCHEMA, "sae": sae, "profile": profile}
        self.value: dict[str, Any] = {**self._head, "entries": self._entries()}

    def _entries(self) -> dict[str, Any]:
        """Entries of this SAE; another SAE's, or a damaged file, count as none."""
        try:
            value = json.loads(self.path.read_text(encoding="utf-8"))
            same = value["schema"] == SCHEMA and value["sae"] == self._head["sae"]
            return dict(value["entries"]) if same else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def has(self, name: str, key: dict[str, str]) -> bool:
        """Whether an entry is there under exactly this key."""
        entry = self.value["entries"].get(name)
        return isinstance(entry, dict) and entry.get("key") == key

    def put(self, name: str, entry: dict[str, Any]) -> None:
        """Add an entry and write the file, whole or not at all."""
        self.value = {**self._head, "entries": {**self._entries(), name: entry}}
        try:
            cache.write_json(self.path, self.value)
        except OSError as error:
            raise LabError(f"cannot write {self.path}: {error.strerror}") from error


def _profile_name(folders: Sequence[Path]) -> str:
    """The caller's profile, else the one that the first SAE names."""
    if name := os.environ.get(PROFILE_VARIABLE):
        return name
    for folder in folders[:1]:
        try:
            name = json.loads((folder / SAE_FOLDER / "sae.json").read_text(encoding="utf-8")).get("profile")
        except (OSError, ValueError, AttributeError):
            continue
        if isinstance(name, str):
            return name
    return DEFAULT_PROFILE


def _peak_memory_mb() -> float:
    """The most this process has held so far: on the GPU where one is used, else in memory."""
    import resource

    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**20
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes, but bytes on macOS
    return size / (2**20 if sys.platform == "darwin" else 2**10)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.evaluate", description="Score saved SAEs and write RUN_DIR/results.json."
    )
    parser.add_argument("run_dirs", nargs="+", type=Path, metavar="RUN_DIR", help="a folder with sae/ in it")
    parser.add_argument("--evals", help=f"of {', '.join(NAMES)}, separated by commas, or all")
    parser.add_argument("--profile", help="a profile's name or file (default: the one the SAE was trained with)")
    parser.add_argument("--device", help="cpu, cuda … (default: cuda where there is one)")
    parser.add_argument("--autointerp-model", help="who autointerp asks: openai:NAME, openai:NAME@URL, anthropic:NAME")
    parser.add_argument(
        "--autointerp-price", default="", help="its dollars a million tokens read/written, as 0.15/0.60"
    )
    options = parser.parse_args(arguments)
    _leave_out(*map(str, options.run_dirs), *(str(folder.parent) for folder in options.run_dirs))
    names = options.evals.split(",") if options.evals is not None else None
    try:
        judge = None
        if options.autointerp_model is not None:
            from lab.judge import make_judge

            judge = make_judge(options.autointerp_model, options.autointerp_price)
        found = evaluate(options.run_dirs, options.profile, names, options.device, judge, _say)
    except LabError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    for folder, results in zip(options.run_dirs, found):
        sys.stdout.write(f"{folder / RESULTS}\n")
        for name, entry in results["entries"].items():
            shown = (f"{key} {item['value']:.4g}" for key, item in entry["metrics"].items() if item["headline"])
            sys.stdout.write(f"  {name}: {', '.join(shown)} ({entry['seconds']:.1f} s)\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
