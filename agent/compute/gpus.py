"""The GPUs of this machine, handed out to one run each, also among several launchers."""

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from agent.base.errors import AgentError

VISIBLE = "CUDA_VISIBLE_DEVICES"
POLL = 0.2


class Gpus:
    """A set of GPUs, each with a lock file; a lock is gone with the process that held it, however that ended.

    Args:
        names: What CUDA calls them, a number or an identifier each.
        folder: Where the lock files lie; launchers that share it share the GPUs.
    """

    def __init__(self, names: Sequence[str], folder: Path) -> None:
        self.names = tuple(names)
        self._folder = folder

    @classmethod
    def of_this_machine(cls, environ: Mapping[str, str] = os.environ, devices: Path = Path("/dev")) -> "Gpus":
        """The GPUs that CUDA_VISIBLE_DEVICES names, or all of NVIDIA's.

        Args:
            environ: The environment.
            devices: The folder of device nodes.
        """
        if (given := environ.get(VISIBLE)) is not None:
            # CUDA takes the names up to the first that is none.
            names = [name.strip() for name in given.split(",")]
            names = names[: next((at for at, name in enumerate(names) if name in ("", "-1")), len(names))]
        else:
            names = [path.name.removeprefix("nvidia") for path in devices.glob("nvidia[0-9]*")]
            names.sort(key=int)
        own = environ.get("XDG_RUNTIME_DIR") or str(Path(tempfile.gettempdir()) / f"sae-scientist-{os.getuid()}")
        return cls(names, Path(own) / "sae-scientist-gpus")

    @contextmanager
    def lease(self, count: int, tick: Callable[[], None]) -> Iterator[str | None]:
        """Hold GPUs that nobody else holds; who wants several is not passed by those who want fewer.

        Args:
            count: How many.
            tick: Called again and again while one has to wait.

        Yields:
            What CUDA_VISIBLE_DEVICES should be; None where none are wanted or this machine has none.

        Raises:
            AgentError: More are wanted than there are.
        """
        if not count or not self.names:
            yield None
            return
        if count > len(self.names):
            raise AgentError(f"a run wants {count} GPUs and there are {len(self.names)}: give a smaller --gpus")
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with ExitStack() as held:
            with ExitStack() as queue:
                _wait(tick, lambda: self._take(queue, ["turn"], 1))
                free = _wait(tick, lambda: self._take(held, self.names, count))
            yield ",".join(free)

    def _take(self, stack: ExitStack, names: Sequence[str], count: int) -> list[str]:
        """Lock so many of the files, or none."""
        with ExitStack() as trial:
            taken: list[str] = []
            for name in names:
                file: TextIO = trial.enter_context((self._folder / f"{name.replace('/', '_')}.lock").open("a"))
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                taken.append(name)
                if len(taken) == count:
                    stack.enter_context(trial.pop_all())
                    return taken
        return []


def _wait(tick: Callable[[], None], take: Callable[[], list[str]]) -> list[str]:
    while not (taken := take()):
        tick()
        time.sleep(POLL)
    return taken
