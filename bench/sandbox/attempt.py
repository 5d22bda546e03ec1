"""Tries an attack, outside and inside, and judges by what it reached and what it left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.compute.jail.spec import Limits
from agent.compute.sandbox import Sandbox, contain, tidy
from bench.sandbox.targets import SECRET, targets

ATTACKS = Path(__file__).with_name("attacks")
# What hangs is ended then, also on a machine with a lot else to do.
PATIENCE = 60.0
# Small, so that an attack on a limit passes it within moments.
LIMITS = Limits(seconds=PATIENCE, memory=120_000_000, processes=40, disk=20_000_000, files=200, output=5_000_000)
SHORT = 0.4
_LATE = 0.6


@dataclass(frozen=True)
class Attack:
    """One attack.

    Args:
        name: The name of its file.
        what: What it tries, in a sentence.
        notes: How it is judged: `root` (only root can do it even outside), `depends` (not every machine's kernel lets
            it even outside), `trace` (its own exit code says nothing), `late` (it acts after its run), `passes LIMIT`,
            `namespace` (without a namespace for shared memory it is not stopped, as docs/sandbox.md says).
    """

    name: str
    what: str
    notes: tuple[str, ...]

    @property
    def limit(self) -> str:
        """The limit that it passes, or ""."""
        return next((note.split()[1] for note in self.notes if note.startswith("passes")), "")


@dataclass(frozen=True)
class Outcome:
    """The outcome of an attempt.

    Args:
        reached: Whether it did what it wanted.
        said: How its run ended, in words.
    """

    reached: bool
    said: str


def load_attacks() -> list[Attack]:
    """All attacks that this user can try, by name."""
    found = []
    for path in sorted(ATTACKS.glob("*.py")):
        lines = path.read_text(encoding="utf-8").splitlines()
        notes = tuple(line[2:].strip() for line in lines if line.startswith("#:"))
        if "root" not in notes or os.geteuid() == 0:
            found.append(Attack(path.stem, lines[0].strip('"'), notes))
    return found


def attempt(attack: Attack, sandbox: Sandbox | None) -> Outcome:
    """Try an attack.

    Args:
        attack: Which.
        sandbox: Where; None for outside of any.

    Returns:
        What came of it.
    """
    with targets(ATTACKS / f"{attack.name}.py") as prey:
        before = prey.state()
        command = [sys.executable, "-I", "-S", "experiment.py", str(prey.out)]
        log = prey.out / "log.txt"
        if sandbox is None:
            ok, said = (
                _outside(command, prey.workspace, prey.variables, log),
                log.read_text()[-300:] if log.is_file() else "",
            )
        else:
            seconds = SHORT if attack.limit == "time" else LIMITS.seconds
            result = contain(
                sandbox,
                command,
                cwd=prey.workspace,
                env=prey.variables,
                log=log,
                limits=Limits(**{**vars(LIMITS), "seconds": seconds}),
                readable=prey.readable,
                writable=[prey.out],
                hidden=prey.hidden,
            )
            tidy(prey.out)
            ok, said = result.ok, f"{result.reason(seconds or 0)}: {log.read_text()[-300:]}"
            if attack.limit and not ok and result.ended != attack.limit and "Error" not in said:
                ok, said = True, f"ended by another limit than {attack.limit}: {said}"
        # What the loop does next: it has read the log, for the model to see, and writes another beside it.
        with (prey.out / "evaluate.log").open("a") as file:
            file.write("scored\n")
        if "late" in attack.notes:
            _wait_for(prey.out / "late", _LATE if sandbox else PATIENCE)
            ok = False
        left = SECRET in said or prey.state() != before
        return Outcome(left or (ok and "trace" not in attack.notes), said)


def _wait_for(path: Path, seconds: float) -> None:
    """Wait until a file is there, or a time is over."""
    until = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.02)


def _outside(command: list[str], cwd: Path, variables: dict[str, str], log: Path) -> bool:
    """Run a command as it was run before there was a sandbox."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **variables, "MODEL_API_KEY": "sk-launcher"},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            close_fds=False,
            start_new_session=True,
        )
        try:
            return process.wait(PATIENCE) == 0
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return False
