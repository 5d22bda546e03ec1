"""``python -m bench.integrity``: what the gates make of hostile, mistaken and honest replies, and what they cost."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from bench.integrity.cases import Case, load_cases
from bench.integrity.judge import Verdict, judge, make_base, static_seconds

_PROFILE = Path(__file__).resolve().parents[2] / "tests" / "profiles" / "tiny.toml"
_SAID = {
    "refused": "refused before the run",
    "smoke": "caught by the smoke run",
    "flagged": "flagged after",
    "kept": "undetected",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments; those of the process when None.

    Returns:
        0 when nothing hostile went undetected and nothing honest was stopped, else 1.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.integrity", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    parser.add_argument("--profile", type=Path, default=_PROFILE, help="the lab's profile (default: that of the tests)")
    parser.add_argument("--jobs", type=int, default=2, help="cases at a time (default: 2)")
    parser.add_argument("cases", nargs="*", help="names of cases (default: all)")
    options = parser.parse_args(argv)
    cases = [case for case in load_cases() if not options.cases or case.file in options.cases]
    if unknown := set(options.cases) - {case.file for case in cases}:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    report = _report(_judge_all(cases, options.profile.resolve(), options.jobs))
    sys.stdout.write(json.dumps(report) + "\n" if options.json else _table(report))
    return 1 if report["undetected"] or report["false_alarms"] else 0


def _judge_all(cases: Sequence[Case], profile: Path, jobs: int) -> list[Verdict]:
    with tempfile.TemporaryDirectory(prefix="integrity-") as scratch, ThreadPoolExecutor(jobs) as pool:
        base = make_base(Path(scratch) / "base", profile)
        work = Path(scratch) / "work"
        work.mkdir()
        return list(pool.map(lambda case: judge(case, base, work), cases))


def _report(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    hostile = [verdict for verdict in verdicts if not verdict.case.honest]
    honest = [verdict for verdict in verdicts if verdict.case.honest]
    return {
        "cases": len(hostile),
        "undetected": sum(verdict.outcome == "kept" for verdict in hostile),
        "honest": len(honest),
        "false_alarms": sum(verdict.outcome != "kept" for verdict in honest),
        "seconds": {
            "reading": round(static_seconds(), 4),
            **{name: _median(verdicts, name) for name in ("propose", "smoke", "train", "score", "hash")},
        },
        "verdicts": [
            {
                "case": verdict.case.file,
                "name": verdict.case.name,
                "honest": verdict.case.honest,
                "outcome": verdict.outcome,
                "expected": verdict.case.expect,
                "why": verdict.why,
            }
            for verdict in verdicts
        ],
    }


def _median(verdicts: Sequence[Verdict], step: str) -> float | None:
    known = [verdict.seconds[step] for verdict in verdicts if step in verdict.seconds]
    return round(median(known), 3) if known else None


def _table(report: dict[str, Any]) -> str:
    rows = []
    for verdict in report["verdicts"]:
        said = _SAID[verdict["outcome"]] if not verdict["honest"] or verdict["outcome"] != "kept" else "kept"
        wrong = (verdict["outcome"] == "kept") != verdict["honest"]
        why = [line.strip("- ") for line in verdict["why"].splitlines() if line.strip()]
        told = next((line for line in why if line.startswith(("line", "the ", "class"))), why[-1] if why else "")
        rows.append(f"{'!' if wrong else ' '} {verdict['name']:<62} {said:<24} {told[:110]}")
    seconds = {name: "-" if value is None else f"{value:.3g}" for name, value in report["seconds"].items()}
    return "\n".join(
        [
            *rows,
            "",
            f"{report['cases']} hostile or mistaken replies, {report['undetected']} undetected; "
            f"{report['honest']} honest edits, {report['false_alarms']} false alarms",
            f"seconds (median): reading a reply's file {seconds['reading']}, the whole step {seconds['propose']}; "
            f"smoke run {seconds['smoke']}; training {seconds['train']}; scoring {seconds['score']}; "
            f"hashing the run {seconds['hash']}",
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
