"""A smoke run: an experiment's script as it is, on a few real batches, watched.

`lab.runner` runs the script three times: as a whole run with its schedule compressed into SAE_LAB_SMOKE_STEPS steps, so
that what depends on the share of training is reached; on single steps of the real run, so that what depends on a step's
number is; and on steps and with a seed that nobody can know beforehand, so that a script that knows the other two by
their values is watched where it does not. The report says what was wrong, which terms of the loss moved nothing (whose
fault that is depends on who wrote them: whoever knows the edit decides), which lines ran, and a hash of what came out
of each of the first two passes: two scripts with the same hashes train the same SAE. What a script asks the lab for is
what it gets in a real run.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import random
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import cache
from lab.schedule import STEPS

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lab.batches import Batch
    from lab.given import Given
    from lab.settings import Profile
    from lab.watch import Watch

_DENSE = 4  # single steps at the start, before the numbers get round
_ROUND = (10, 20, 25, 50, 100, 200, 250, 500, 1000, 2000, 5000, 10_000)
_MOST = 32
_DRAWN = 6
_KNOWN_SEED = "0"  # of the passes whose weights are compared with other scripts'
_VARIED_ROWS = 1e-6


class _Enough(BaseException):
    """Ends a later pass where the SAE would be saved: what follows was done in the first."""


class Smoke:
    """Looks on during the passes (`lab.observer`), and says what it saw.

    Args:
        script: the experiment.
        watch: notes what goes wrong in training.
    """

    def __init__(self, script: Path, watch: Watch) -> None:
        self.script = script
        self.watch = watch
        self.profile: Profile | None = None
        self.sample_acts: Callable[[], Tensor] | None = None
        self.weights: list[str] = []
        self.settings: dict[str, Any] = {}
        self.reads: set[str] = set()
        self.saved = False

    def started(self, profile: Profile, sample_acts: Callable[[], Tensor]) -> None:
        """A pass begins."""
        self.profile, self.sample_acts = profile, sample_acts
        self.watch.__enter__()  # type: ignore[no-untyped-call]

    def configured(self, config: Any) -> None:
        """Settings are complete: note which of them are asked for from now on."""
        names = {item.name for item in dataclasses.fields(config)}
        self.settings = {name: getattr(config, name) for name in names}
        reads = self.reads
        kind: Any = type(config)
        get = kind.__getattribute__

        def noting(this: Any, name: str) -> Any:
            if name in names:
                reads.add(name)
            return get(this, name)

        # The script's own class is watched, for an instance of another could be told from it.
        kind.__getattribute__ = noting

    def batch(self, batch: Batch) -> None:
        """A batch is about to be handed out."""
        self.watch.next_batch(batch.step)

    def exhausted(self) -> None:
        """All batches were handed out."""
        self.watch.exhausted()

    def logged(self, values: dict[str, Any]) -> None:
        """Values of a step were noted."""
        self.watch.logged(values)

    def saving(self, module: nn.Module) -> None:
        """The SAE of a pass is done: its weights say whether another script trains the same one."""
        self.watch.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        if self.saved:
            self.weights.append(_hash(module))
            raise _Enough
        self.saved = True

    def look_at_artifact(self, folder: Path) -> None:
        """Read the saved SAE as the scoring would, and check that it depends on what it is given."""
        from lab import artifact

        assert self.sample_acts is not None
        sae = artifact.load(folder)
        self.weights.append(sae.fingerprint)
        latents = sae.encode(self.sample_acts())
        if latents.shape[0] > 1 and float((latents - latents[:1]).abs().max()) <= _VARIED_ROWS:
            self.watch.findings.setdefault("the saved SAE gives the same latents whatever activations it reads")


def smoke(script: Path, given: Given, report: Path, execute: Callable[[Given], None]) -> None:
    """Run a script on few batches and write what was seen.

    Args:
        script: the experiment.
        given: what it is given, its number of steps and a seed of this smoke run among it.
        report: the JSON file that is written, also when the script ends by an error, which is raised.
        execute: runs the script once.
    """
    import coverage
    import torch

    from lab.observer import OBSERVER
    from lab.watch import Watch

    assert given.out_dir is not None
    began = time.monotonic()
    # On a GPU sums in another order would give other weights every time; the warning would be the user's, not ours.
    if torch.cuda.is_available():  # asked for or not, the call imports PyTorch's compiler
        torch.use_deterministic_algorithms(True, warn_only=True)
    path = str(script.resolve())
    watch = Watch(str(script))
    seen = Smoke(script, watch)
    OBSERVER.set(seen)
    lines = coverage.Coverage(data_file=None, config_file=False, include=[path], messages=False)
    lines.start()
    finished = False
    try:
        known = given.replaced(SAE_LAB_SEED=_KNOWN_SEED)
        execute(known)
        if seen.profile is not None and seen.saved:
            seen.look_at_artifact(given.out_dir / "sae")
            steps = seen.profile.training.steps
            single, drawn = _single_steps(script, steps), random.SystemRandom().sample(range(steps), min(_DRAWN, steps))
            for later in (known.replaced(**{STEPS: single}), given.replaced(**{STEPS: _listed(drawn)})):
                try:
                    execute(later)
                except _Enough:
                    pass
        finished = True
    finally:
        lines.stop()
        watch.close()
        _write(report, seen, sorted(lines.get_data().lines(path) or ()), finished, time.monotonic() - began)


def _write(report: Path, seen: Smoke, lines: list[int], finished: bool, seconds: float) -> None:
    findings = list(seen.watch.findings)
    if finished and seen.profile is None:
        findings.append("the script never called start(): the lab gives it its data there")
    elif finished and not seen.saved:
        findings.append("no SAE was saved: main() has to call run.save(...)")
    memory = _memory_gb()
    if seen.profile is not None and memory > seen.profile.limits.run_memory_gb:
        limit = seen.profile.limits.run_memory_gb
        findings.append(f"it took {memory:.1f} GB of memory, and the limit is {limit:g} GB")
    cache.write_json(
        report,
        {
            "finished": finished,
            "findings": findings,
            "idle_terms": seen.watch.idle,
            "lines": lines,
            "weights": seen.weights[:2],
            "settings": {name: repr(value) for name, value in sorted(seen.settings.items())},
            "reads": sorted(seen.reads),
            "memory_gb": round(memory, 2),
            "seconds": round(seconds, 2),
        },
    )


def _single_steps(script: Path, steps: int) -> str:
    """The steps of the real run that are tried: its start and end, round numbers, and the numbers in the script."""
    numbers = {
        node.value
        for node in ast.walk(ast.parse(script.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and type(node.value) is int
    }
    named = sorted(step for number in numbers if number > 1 for step in (number - 1, number, number + 1))
    wanted = [*range(_DENSE), steps - 2, steps - 1, *_ROUND, *named]
    chosen = list(dict.fromkeys(step for step in wanted if 0 <= step < steps))[:_MOST]
    return _listed(chosen)


def _listed(steps: list[int]) -> str:
    return ",".join(map(str, sorted(steps))) + ","


def _hash(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().float().numpy().data)
    return digest.hexdigest()[:16]


def _memory_gb() -> float:
    """The most this process has held: on the GPU where one is used, else in memory."""
    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**30
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes, but bytes on macOS
    return size / (2**30 if sys.platform == "darwin" else 2**20)
