"""The variables of the environment by which a run of an experiment is told what it is given.

SAE_LAB_PROFILE, SAE_LAB_SEED, SAE_LAB_DEVICE; SAE_LAB_SETTINGS, overrides of the experiment's settings as JSON;
SAE_LAB_PASSES, how often a baseline goes through its batches that is compared with a run of more compute;
SAE_LAB_ACTIVATIONS, the folder of its data, where it may read no more than that; SAE_LAB_MAX_STEPS for a short trial;
SAE_LAB_SMOKE_STEPS and SAE_LAB_REPORT for who looks on (`lab.runner`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.handed import VARIABLE
from lab.schedule import PASSES, STEPS
from lab.settings import DEFAULT_PROFILE

REPORT = "SAE_LAB_REPORT"
_NAMES = ("PROFILE", "SEED", "DEVICE", "SETTINGS", "MAX_STEPS")
_VARIABLES = (*(f"SAE_LAB_{name}" for name in _NAMES), VARIABLE, STEPS, PASSES, REPORT)


class Given:
    """The variables, each read when it is asked for.

    Args:
        values: an environment.
        out_dir: the run's folder, where the script is told another name of it.

    Attributes: `kept`, files that nobody is to write again, by their digests.
    """

    def __init__(self, values: Mapping[str, str], out_dir: Path | None = None) -> None:
        self._values = {name: values[name] for name in _VARIABLES if values.get(name)}
        self.out_dir = out_dir
        self._begun = False
        self.kept: dict[Path, str] = {}

    def begin(self) -> Given:
        """A run begins by what is given, once.

        Returns:
            This object.

        Raises:
            LabError: one has begun already.
        """
        if self._begun:
            raise LabError("start() was called twice: a run begins once")
        self._begun = True
        return self

    @classmethod
    def take(cls, environment: MutableMapping[str, str], out_dir: Path) -> Given:
        """The variables, taken out of an environment: a script's shows nothing by which one run differs from another.

        Args:
            environment: that of this process.
            out_dir: the run's folder.
        """
        taken = cls(environment, out_dir)
        for name in _VARIABLES:
            environment.pop(name, None)
        return taken

    def check(self) -> None:
        """The script has ended: what was saved is still what the lab wrote.

        Raises:
            LabError: it is not.
        """
        if changed := [path.name for path, digest in self.kept.items() if _digest(path) != digest]:
            raise LabError(f"{', '.join(changed)} was written after run.save(): the lab keeps the record of a run")

    def replaced(self, **values: str) -> Given:
        """The same with other values, by the names of their variables."""
        return Given({**self._values, **values}, self.out_dir)

    @property
    def profile(self) -> str:
        """A profile's name or file."""
        return self._values.get("SAE_LAB_PROFILE", DEFAULT_PROFILE)

    @property
    def device(self) -> str | None:
        """The device to compute on; None for the best there is."""
        return self._values.get("SAE_LAB_DEVICE")

    @property
    def seed(self) -> int:
        """The seed, 0 or more."""
        return self._number("SAE_LAB_SEED")

    @property
    def max_steps(self) -> int:
        """The run ends after so many steps; 0 for all."""
        return self._number("SAE_LAB_MAX_STEPS")

    @property
    def smoke_steps(self) -> str:
        """The steps of a smoke run, as `lab.schedule.schedule` takes them; empty for a real run."""
        return self._values.get(STEPS, "")

    @property
    def passes(self) -> str:
        """The number of times that the batches are gone through, as `lab.schedule.schedule` takes it."""
        return self._values.get(PASSES, "")

    @property
    def report(self) -> Path | None:
        """The file that takes what was seen of the run, where somebody wants to know."""
        found = self._values.get(REPORT)
        return Path(found) if found else None

    @property
    def activations(self) -> Path | None:
        """The folder of the activations that the run is handed; None where it finds them itself."""
        found = self._values.get(VARIABLE)
        return Path(found) if found else None

    @property
    def settings(self) -> dict[str, Any]:
        """Overrides of the experiment's settings.

        Raises:
            LabError: they are not a JSON object.
        """
        try:
            overrides = json.loads(self._values.get("SAE_LAB_SETTINGS", "{}"))
        except ValueError as error:
            raise LabError(f"SAE_LAB_SETTINGS is not JSON: {error}") from error
        if not isinstance(overrides, dict):
            raise LabError('SAE_LAB_SETTINGS must be a JSON object such as {"k": 64}')
        return overrides

    def _number(self, variable: str) -> int:
        text = self._values.get(variable, "0")
        if not text.isdecimal():
            raise LabError(f"{variable} must be a whole number of 0 or more, not {text!r}")
        return int(text)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


GIVEN: ContextVar[Given | None] = ContextVar("GIVEN", default=None)


def keep(*files: Path) -> None:
    """Note files of a run's record as they are now, where the script that makes them ends in this process."""
    if given := GIVEN.get():
        given.kept = {path: _digest(path) for path in files}
