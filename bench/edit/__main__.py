"""``python -m bench.edit``: our edit engine and aider's matcher over the corpus, as a table or as JSON."""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles
from typing import Any

from bench.edit.cases import Case, load_cases
from bench.edit.engines import RUNS, aider, best_of, ours
from bench.edit.judge import Answer, judge, tally
from bench.edit.real import real_cases
from bench.edit.speed import speed_cases

_ROOT = Path(__file__).resolve().parents[2]
_TRANSCRIPT = "transcript_hierarchical_orthogonal_sae.txt"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments; those of the process when None.

    Returns:
        0 when every case came out right, else 1.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.edit", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    parser.add_argument("--transcript", type=Path, help=f"a chat history of aider's kind (default: {_TRANSCRIPT})")
    parser.add_argument("--no-aider", action="store_true", help="leave aider out even where it is installed")
    parser.add_argument("--failures", action="store_true", help="name the cases that did not come out right")
    args = parser.parse_args(argv)
    cases = load_cases(Path(__file__).with_name("cases"))
    transcript = args.transcript or _find_transcript()
    real = real_cases(transcript) if transcript else []
    if args.transcript and not real:
        parser.error(f"no reply with a block in {args.transcript}")
    timed = speed_cases()
    report = _ours([*cases, *real], timed)
    python = _ROOT / ".aider-venv" / "bin" / "python"
    if python.is_file() and not args.no_aider:
        report["aider"] = _aider([*cases, *real], timed, python)
    if args.json:
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        sys.stdout.write(_table(report, len(real), len(timed), args.failures))
    return 0 if report["right"] == report["cases"] else 1


def _find_transcript() -> Path | None:
    folder = os.environ.get("SAE_SCIENTIST_SEEDS")
    path = (Path(folder) if folder else _ROOT.parent / "shared" / "seeds") / _TRANSCRIPT
    return path if path.is_file() else None


def _ours(cases: Sequence[Case], timed: Sequence[Case]) -> dict[str, Any]:
    answers = [ours(case) for case in cases]
    gc.disable()
    times = [best_of(case) for case in timed]
    gc.enable()
    return _report(cases, answers, times, codes=True)


def _aider(cases: Sequence[Case], timed: list[Case], python: Path) -> dict[str, Any]:
    answers = aider([*cases, *timed * RUNS], python)
    runs = [answers[len(cases) + n :: len(timed)] for n in range(len(timed))]
    times = [min(run, key=lambda answer: answer.seconds) for run in runs]
    return _report(cases, answers[: len(cases)], times, codes=False)


def _report(
    cases: Sequence[Case], answers: Sequence[Answer], timed: Sequence[Answer], *, codes: bool
) -> dict[str, Any]:
    """Counts over all cases, over those that no other policy could answer otherwise, and times of the timed ones."""
    verdicts = [judge(case, answer, codes=codes) for case, answer in zip(cases, answers)]
    cuts = quantiles([1000 * answer.seconds for answer in timed], n=100, method="inclusive")
    common = [verdict for case, verdict in zip(cases, verdicts) if not (case.policy or case.lint)]
    return {
        "cases": len(cases),
        **tally(verdicts),
        "p50_ms": round(cuts[49], 2),
        "p99_ms": round(cuts[98], 2),
        "common_ground": {"cases": len(common), **tally(common)},
        "failures": {case.name: verdict for case, verdict in zip(cases, verdicts) if verdict != "right"},
    }


_LEGEND = """
{corpus} cases of the corpus and {real} replies of a real campaign. Times: {timed} replies on a file of 2,000 lines, one
of them of 1 MB, best of {runs}, in memory; reading, writing and flushing included, flake8 not.
wrong: other bytes than asked for, and nothing said    half: a part written, another part refused
lost: not written, and nothing said                    refused: could have been applied
common ground: without the gate, and without cases in which another policy could be defended
"""


def _table(report: dict[str, Any], real: int, timed: int, failures: bool) -> str:
    names = ("engine", "cases", "right", "wrong", "half", "lost", "refused", "p50 ms", "p99 ms")
    rows = [f"{names[0]:<30}" + "".join(f"{name:>9}" for name in names[1:])]
    engines = {"agent.edit": report, "aider 0.86.2": report.get("aider")}
    for name, data in engines.items():
        if data:
            rows.append(_row(name, data) + f"{data['p50_ms']:>9.1f}{data['p99_ms']:>9.1f}")
            rows.append(_row(f"{name}, common ground", data["common_ground"]))
    rows.append(_LEGEND.format(corpus=report["cases"] - real, real=real, timed=timed, runs=RUNS))
    if "aider" not in report:
        rows.append("aider is not measured: no environment .aider-venv here (make aider).\n")
    for name, data in engines.items():
        if data and failures:
            rows += [f"{name}:", *(f"  {verdict:<12}{case}" for case, verdict in data["failures"].items()), ""]
    return "\n".join(rows)


def _row(name: str, data: dict[str, Any]) -> str:
    counts = ("cases", "right", "wrong_place", "half", "lost", "refused")
    return f"{name:<30}" + "".join(f"{data[count]:>9}" for count in counts)


if __name__ == "__main__":
    sys.exit(main())
