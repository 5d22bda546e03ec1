"""``python -m bench.integrity``: what the gates make of hostile, mistaken and honest replies, and what they cost."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from statistics import median
from typing import Any

from bench.integrity.cases import KINDS, Case, load_cases
from bench.integrity.judge import Verdict, judge, make_base, static_seconds

_PROFILE = Path(__file__).resolve().parents[2] / "tests" / "profiles" / "tiny.toml"
_SAID = {
    "refused": "refused before the run",
    "smoke": "caught by the smoke run",
    "void": "run, no verdict",
    "named": "named beside the verdict",
    "judged": "no better than its equal",
    "kept": "kept",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments; those of the process when None.

    Returns:
        0 when every hostile reply was met as it should be and nothing honest was stopped, else 1.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.integrity", description=__doc__)
    parser.add_argument(
        "--json", action="store_true", help="a line of JSON a case, and one of all, in place of the table"
    )
    parser.add_argument("--profile", default=str(_PROFILE), help="the lab's profile (default: that of the tests)")
    parser.add_argument("--jobs", type=int, default=2, help="cases at a time (default: 2)")
    parser.add_argument("--kind", action="append", choices=KINDS, default=[], help="hostile ones of a kind")
    parser.add_argument("--honest", action="store_true", help="honest edits only")
    parser.add_argument("cases", nargs="*", help="names of cases (default: all)")
    options = parser.parse_args(argv)
    known = load_cases()
    if unknown := set(options.cases) - {case.file for case in known}:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    every = not (options.cases or options.kind or options.honest)
    cases = [
        case
        for case in known
        if every or case.file in options.cases or case.kind in options.kind or (options.honest and case.honest)
    ]
    profile = str(Path(options.profile).resolve()) if options.profile.endswith(".toml") else options.profile
    verdicts = []
    for verdict in _judge_all(cases, profile, options.jobs):
        verdicts.append(verdict)
        sys.stdout.write(json.dumps(_plain(verdict)) + "\n" if options.json else _row(verdict))
        sys.stdout.flush()
    report = _report(verdicts)
    sys.stdout.write(json.dumps(report) + "\n" if options.json else _summary(report))
    return 1 if any(verdict.case.wrong(verdict.outcome) for verdict in verdicts) else 0


def _judge_all(cases: Sequence[Case], profile: str, jobs: int) -> Iterator[Verdict]:
    """The verdicts, in the order in which they are known."""
    with tempfile.TemporaryDirectory(prefix="integrity-") as scratch, ThreadPoolExecutor(jobs) as pool:
        base = make_base(Path(scratch) / "base", profile)
        work = Path(scratch) / "work"
        work.mkdir()
        for done in as_completed([pool.submit(judge, case, base, work) for case in cases]):
            yield done.result()


def _plain(verdict: Verdict) -> dict[str, Any]:
    return {
        "case": verdict.case.file,
        "name": verdict.case.name,
        "kind": verdict.case.kind,
        "honest": verdict.case.honest,
        "outcome": verdict.outcome,
        "expected": verdict.case.expect,
        "wrong": verdict.case.wrong(verdict.outcome),
        "why": verdict.why,
    }


def _report(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    wrong = Counter(verdict.case.wrong(verdict.outcome) for verdict in verdicts)
    return {
        "cases": sum(not verdict.case.honest for verdict in verdicts),
        "undetected": wrong["undetected"],
        "weaker": wrong["weaker"],
        "honest": sum(verdict.case.honest for verdict in verdicts),
        "false_alarms": wrong["false alarm"],
        "unnamed": wrong["unnamed"],
        "kinds": {
            kind: dict(Counter(verdict.outcome for verdict in verdicts if verdict.case.kind == kind))
            for kind in sorted({verdict.case.kind for verdict in verdicts} - {""})
        },
        "seconds": {
            "reading": round(static_seconds(), 4),
            **{name: _median(verdicts, name) for name in ("propose", "smoke", "train", "score", "hash")},
        },
    }


def _median(verdicts: Sequence[Verdict], step: str) -> float | None:
    known = [verdict.seconds[step] for verdict in verdicts if step in verdict.seconds]
    return round(median(known), 3) if known else None


def _row(verdict: Verdict) -> str:
    why = [line.strip("- ") for line in verdict.why.splitlines() if line.strip()]
    told = next((line for line in why if line.startswith(("line", "the ", "class"))), why[-1] if why else "")
    wrong = "!" if verdict.case.wrong(verdict.outcome) else " "
    return f"{wrong} {verdict.case.name:<62} {_SAID[verdict.outcome]:<24} {told[:110]}\n"


def _summary(report: dict[str, Any]) -> str:
    seconds = {name: "-" if value is None else f"{value:.3g}" for name, value in report["seconds"].items()}
    return (
        f"\n{report['cases']} hostile or mistaken replies, {report['undetected']} undetected, "
        f"{report['weaker']} held less than they should be; "
        f"{report['honest']} honest edits, {report['false_alarms']} false alarms, "
        f"{report['unnamed']} not named that should be\n"
        f"seconds (median): reading a reply's file {seconds['reading']}, the whole step {seconds['propose']}; "
        f"smoke run {seconds['smoke']}; training {seconds['train']}; scoring {seconds['score']}; "
        f"hashing the run {seconds['hash']}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
