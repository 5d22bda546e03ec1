"""Scoring SAEs from their saved folders, in a process that runs nothing of the experiment's code.

    python -m lab.evaluate RUN_DIR [RUN_DIR ...] [--evals core,absorption] [--profile NAME] [--device cpu]
    python -m lab.evaluate --sae FOLDER_OR_HUB_ID --out RUN_DIR ...

reads `RUN_DIR/sae/`, which the second form makes from another library's SAE first (`lab.adopt`), and writes
`RUN_DIR/results.json`: an entry for each evaluation with its metrics, their directions and the key it is addressed by.
An entry is used again only when its whole key is the same: the SAE's weights and graphs, the evaluator's source and
settings, the text, the model, device and dtype.
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
import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import cache
from lab.errors import LabError
from lab.evals import TABLE, choose, load
from lab.imports import importing
from lab.settings import DEFAULT_PROFILE, Profile, load_profile

if TYPE_CHECKING:
    from lab.evals.base import Context, Evaluation, Scores, Setup
    from lab.judge import Judge

    _Plan = tuple[str, Evaluation, Any, dict[str, str]]

SCHEMA = 1
RESULTS = "results.json"
SAE_FOLDER = "sae"
PROFILE_VARIABLE = "SAE_LAB_PROFILE"
_JUDGE_OPTION = "--autointerp-model"


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
    from lab.evals.base import Context

    folders = [Path(folder) for folder in run_dirs]
    chosen = profile if isinstance(profile, Profile) else load_profile(profile or _profile_name(folders))
    ctx = Context(chosen, device, judge, announce)
    return _score(folders, ctx, _plans(ctx, evals))


def evaluate_foreign(
    source: str,
    run_dir: Path | str,
    profile: Profile | str | None = None,
    evals: Iterable[str] | None = None,
    device: str | None = None,
    judge: "Judge | None" = None,
    announce: Callable[[str], None] = lambda line: None,
    *,
    input_scale: float | None = None,
) -> dict[str, Any]:
    """Bring an SAE of another library into a run folder and score it.

    Args:
        source: a folder or a hub's name, as `lab.adopt.adopt` takes it.
        run_dir: where `sae/` and results.json are written.
        profile: as for `evaluate`; the default one the first time.
        evals: as for `evaluate`.
        device: as for `evaluate`.
        judge: as for `evaluate`.
        announce: as for `evaluate`.
        input_scale: as for `lab.adopt.adopt`.

    Raises:
        LabError: what `lab.adopt.adopt` and `evaluate` refuse.
    """
    from lab.adopt import adopt
    from lab.evals.base import Context

    chosen = profile if isinstance(profile, Profile) else load_profile(profile or _profile_name([Path(run_dir)]))
    ctx, folder = Context(chosen, device, judge, announce), Path(run_dir)
    plans = _plans(ctx, evals)  # a wrong name is told before anything is fetched
    adopt(source, folder, ctx, input_scale)
    return _score([folder], ctx, plans)[0]


def _plans(ctx: "Context", evals: Iterable[str] | None) -> "list[_Plan]":
    from lab.evals.base import needs_judge, read_settings

    plans = []
    wanted = evals if evals is not None else ctx.profile.default_evals
    for name in choose(_answerable(wanted, ctx.judge, ctx.announce)):
        module = load(name)
        settings = read_settings(module, name, ctx.profile.evals.get(name, {}))
        key = ctx.key(name, module, settings)
        if needs_judge(module) and ctx.judge is not None:
            key["judge"] = ctx.judge.name
        plans.append((name, module, settings, key))
    return plans


def _score(folders: Sequence[Path], ctx: "Context", plans: "list[_Plan]") -> list[dict[str, Any]]:
    from lab import artifact
    from lab.memory import Peak
    from lab.place import check_place

    setups: dict[str, Setup] = {}
    found = []
    for folder in folders:
        sae = artifact.load(folder / SAE_FOLDER, ctx.device)
        results = _Results(folder / RESULTS, sae.fingerprint, ctx.profile.name, sae.cost.to_json())
        for name, module, settings, key in plans:
            whole_key = {"sae": sae.fingerprint, **key}
            if results.has(name, whole_key):
                continue
            setup = setups[name] = setups[name] if name in setups else module.prepare(ctx, settings)
            check_place(str(sae.folder), sae.d_in, sae.meta.get("hook"), setup.d_model, ctx.profile)
            start, peak = time.perf_counter(), Peak()
            scores = module.score(ctx, setup, sae, settings)
            results.put(name, _entry(module, whole_key, scores, time.perf_counter() - start, peak.megabytes))
        found.append(results.value)
    return found


def _answerable(evals: Iterable[str], judge: "Judge | None", announce: Callable[[str], None]) -> list[str]:
    """The evaluations asked for; "all" becomes those that can be run, for a judge is not there unless it was named.

    Raises:
        LabError: an evaluation is asked for by name that needs a judge, and there is none.
    """
    from lab.evals.base import needs_judge

    names = list(evals)
    if judge is not None:
        return names
    asking = [name for name in choose(names) if needs_judge(load(name))]
    for name in asking:
        if name in names:
            raise LabError(f"{name} asks a language model: name one by {_JUDGE_OPTION} openai:NAME or anthropic:NAME")
    if not asking:
        return names
    announce(f"left out of all: {', '.join(asking)}, which asks a language model ({_JUDGE_OPTION} names one)")
    return [each for each in choose(names) if each not in asking]


def _entry(
    module: "Evaluation", key: dict[str, str], scores: "Scores", seconds: float, peak_memory_mb: float
) -> dict[str, Any]:
    metrics = {}
    for name, value in scores.metrics.items():
        metric = module.METRICS[name]
        described = {key: item for key, item in dataclasses.asdict(metric).items() if key != "paper"}
        metrics[name] = {"value": value, **json.loads(json.dumps(described))}
    return {
        "key": key,
        "metrics": metrics,
        "details": scores.details,
        "seconds": round(seconds, 3),
        "peak_memory_mb": round(peak_memory_mb, 1),
    }


class _Results:
    """One results.json, read anew before each write, so that two processes do not drop each other's entries."""

    def __init__(self, path: Path, sae: str, profile: str, cost: dict[str, int | str] | None = None) -> None:
        self.path = path
        self._head = {"schema": SCHEMA, "sae": sae, "cost": cost or {}, "profile": profile}
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
        """Tell whether an entry is there under exactly this key."""
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


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.evaluate", description="Score saved SAEs and write RUN_DIR/results.json."
    )
    parser.add_argument("run_dirs", nargs="*", type=Path, metavar="RUN_DIR", help="a folder with sae/ in it")
    parser.add_argument(
        "--sae", help="an SAE of SAELens or dictionary_learning: a folder, or owner/repository[/folder]"
    )
    parser.add_argument("--out", type=Path, metavar="RUN_DIR", help="with --sae: the folder for it and its results")
    parser.add_argument("--input-scale", type=float, help="with --sae: the factor its activations were scaled by")
    parser.add_argument("--evals", help=f"of {', '.join(TABLE)}, separated by commas, or all")
    parser.add_argument("--profile", help="a profile's name or file (default: the one the SAE was trained with)")
    parser.add_argument("--device", help="cpu, cuda … (default: cuda where there is one)")
    parser.add_argument(_JUDGE_OPTION, help="who autointerp asks: openai:NAME, openai:NAME@URL, anthropic:NAME")
    parser.add_argument(
        "--autointerp-price", default="", help="its dollars a million tokens read/written, as 0.15/0.60"
    )
    options = parser.parse_args(arguments)
    if bool(options.sae) != bool(options.out) or bool(options.sae) == bool(options.run_dirs):
        parser.error("give RUN_DIR, or --sae and --out")
    if options.input_scale is not None and not options.sae:
        parser.error("--input-scale goes with --sae")
    folders = options.run_dirs or [options.out]
    _leave_out(*map(str, folders), *(str(folder.parent) for folder in folders))
    names = options.evals.split(",") if options.evals is not None else None
    with importing():
        import torch  # noqa: F401
    try:
        judge = None
        if options.autointerp_model is not None:
            from lab.judge import make_judge

            judge = make_judge(options.autointerp_model, options.autointerp_price)
        common = (options.profile, names, options.device, judge, _say)
        if options.sae:
            found = [evaluate_foreign(options.sae, options.out, *common, input_scale=options.input_scale)]
        else:
            found = evaluate(folders, *common)
    except LabError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    for folder, results in zip(folders, found):
        sys.stdout.write(f"{folder / RESULTS}\n")
        for name, entry in results["entries"].items():
            shown = (f"{key} {item['value']:.4g}" for key, item in entry["metrics"].items() if item["headline"])
            sys.stdout.write(f"  {name}: {', '.join(shown)} ({entry['seconds']:.1f} s)\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
