"""``python -m bench.sandbox``: each attack in each way, as root and as an ordinary user; what a start costs; CUDA."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from agent.compute.jail.spec import Limits
from agent.compute.sandbox import Sandbox, available, contain, gpus
from bench.sandbox.attempt import Attack, attempt, load_attacks

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
STARTS = 10
_CUDA = "import torch; x = torch.ones(512, 512, device='cuda'); print(int((x @ x).sum().item()))"
_RIGHT = str(512**3)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments; those of the process when None.

    Returns:
        0 when every attack was stopped, else 1.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.sandbox", description=__doc__)
    parser.add_argument("--json", action="store_true", help="a JSON list in place of the table")
    parser.add_argument("--here", action="store_true", help="only as the user who runs this")
    options = parser.parse_args(argv)
    rows = measure()
    if not options.here and os.geteuid() == 0:
        rows += as_nobody()
    sys.stdout.write(json.dumps(rows) + "\n" if options.json else table(rows))
    return 0 if all(not row["let_through"] for row in rows) else 1


def measure() -> list[dict[str, Any]]:
    """Try everything as the user who runs this: a row for each way.

    Returns:
        `way`, `user`, `attacks`, `stopped`; `startup_ms`, which is what a start costs more inside, and `outside_ms`,
        what one costs outside; the names `let_through`, with what they said, and those that are `not_possible` here
        even outside; `cuda` in a word.
    """
    ways, troubles = available()
    for trouble in troubles:
        sys.stderr.write(f"not tried: {trouble}\n")
    possible, idle = working(load_attacks())
    user = "root" if os.geteuid() == 0 else "ordinary"
    rows = []
    for way in ways:
        apart = own_memory(way)
        attacks = [attack for attack in possible if apart or "namespace" not in attack.notes]
        let_through = {attack.name: said for attack, (reached, said) in _try(attacks, way) if reached}
        row = {"way": way.way, "user": user, "attacks": len(attacks), "stopped": len(attacks) - len(let_through)}
        row |= {**startup(way), "let_through": let_through, "not_possible": idle, "cuda": cuda(way)}
        rows.append(row)
    return rows


def working(attacks: list[Attack]) -> tuple[list[Attack], list[str]]:
    """The attacks that reach what they want outside, and the names of those that this machine does not allow at all.

    Raises:
        AssertionError: One that works on every machine does not: it is broken, and would prove nothing.
    """
    outcomes = _try(attacks, None)
    broken = {
        attack.name: said for attack, (reached, said) in outcomes if not reached and "depends" not in attack.notes
    }
    assert not broken, f"these attacks do not work even outside: {broken}"
    idle = [attack.name for attack, (reached, _) in outcomes if not reached]
    return [attack for attack, (reached, _) in outcomes if reached], idle


def _try(attacks: list[Attack], way: Sandbox | None) -> list[tuple[Attack, tuple[bool, str]]]:
    with ThreadPoolExecutor(2) as pool:
        outcomes = pool.map(lambda attack: attempt(attack, way), attacks)
        return [(attack, (outcome.reached, outcome.said)) for attack, outcome in zip(attacks, outcomes)]


def as_nobody() -> list[dict[str, Any]]:
    """The same rows as an ordinary user; none where there is no Python that one may run."""
    for python in (sys.executable, "/usr/bin/python3"):
        if _runs(python):
            done = _nobody(python, "-m", "bench.sandbox", "--here", "--json")
            sys.stderr.write(done.stderr)
            return list(json.loads(done.stdout))
    sys.stderr.write("not tried as an ordinary user: no Python that one may run\n")
    return []


def _runs(python: str) -> bool:
    check = "import sys, bench.sandbox.attempt; sys.exit(sys.version_info < (3, 11))"
    try:
        return _nobody(python, "-c", check).returncode == 0
    except OSError:  # neither it nor the project's folder may be entered
        return False


def _nobody(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env={"PATH": os.defpath, "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"},
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )


def own_memory(way: Sandbox) -> bool:
    """Tell whether shared memory inside is apart from the machine's, which takes a namespace."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = [sys.executable, "-I", "-S", "-c", "import os; print(os.stat('/dev/shm').st_dev)"]
        contain(way, command, cwd=Path(folder), env={}, log=log, limits=Limits(10))
        return log.read_text().strip() != str(os.stat("/dev/shm").st_dev)  # noqa: PTH116


def startup(way: Sandbox) -> dict[str, float]:
    """Milliseconds that a command takes longer inside, and takes outside: medians of some starts of an empty Python."""
    command = [sys.executable, "-I", "-S", "-c", ""]
    with tempfile.TemporaryDirectory() as folder:
        here, log = Path(folder), Path(folder) / "log"

        def inside() -> None:
            contain(way, command, cwd=here, env={}, log=log, limits=Limits(10))

        outside = _median(lambda: subprocess.run(command, check=True))
        return {"startup_ms": round(_median(inside) - outside, 1), "outside_ms": round(outside, 1)}


def _median(action: Callable[[], object]) -> float:
    times = []
    for _ in range(STARTS):
        started = time.perf_counter()
        action()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def cuda(way: Sandbox) -> str:
    """Tell whether a GPU computes inside: `works`, `no GPU`, or what went wrong."""
    devices = gpus()
    if not devices:
        return "no GPU"
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = [sys.executable, "-c", _CUDA]
        result = contain(way, command, cwd=Path(folder), env={}, log=log, limits=Limits(120), devices=devices)
        said = log.read_text().strip().splitlines() or ["nothing"]
    return "works" if result.ok and said[-1] == _RIGHT else f"{result.reason(120)}: {said[-1]}"


def table(rows: list[dict[str, Any]]) -> str:
    """The rows for people."""
    lines = [f"{'way':12}{'user':10}{'attacks':>8}{'stopped':>9}{'start-up':>10}  CUDA"]
    for row in rows:
        cells = f"{row['way']:12}{row['user']:10}{row['attacks']:>8}{row['stopped']:>9}{row['startup_ms']:>7} ms"
        lines.append(f"{cells}  {row['cuda']}")
        lines += [f"  let through: {name}: {said.strip()}" for name, said in row["let_through"].items()]
        if row["not_possible"]:
            lines.append(f"  not possible here, even outside: {', '.join(row['not_possible'])}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
