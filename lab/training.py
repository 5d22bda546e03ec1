"""A training run as the lab fixes it: its data, their order, the seed, the budget, and the files that are saved.

An experiment's script asks for these and cannot set them: `start` takes them from whoever started it (`lab.given`).
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import logging
import math
import os
import random
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from lab import artifact, cache, compiler
from lab.activations import ActivationStore, open_store, read_store
from lab.artifact import Artifact
from lab.batches import Batch, Fixed, Source
from lab.devices import choose_device
from lab.errors import LabError
from lab.given import GIVEN, Given, keep
from lab.meter import Meter, Updates, compute
from lab.observer import OBSERVER
from lab.progress import track
from lab.schedule import Schedule, schedule
from lab.seeds import Digest, batches, derived, order
from lab.settings import Profile, load_profile

log = logging.getLogger(__name__)
Config = TypeVar("Config")
Value = float | int | Tensor

_PREFETCH_THREADS, _PREFETCH_DEPTH = 4, 8
_CHECK_ROWS = 256
_FIRST_ACTS = 16_384  # rows of the run's own that a start may look at


class Run(Fixed):
    """One training run. Make it with `start`, or with `begin` where no environment decides.

    Attributes: `device`, `d_model`, `batch_size`, `steps`, `sources` (names of the sets of texts), `scale` (raw
    activations times this are what `batches` gives). They are plain values: a richer object would lead further.
    """

    def __init__(
        self,
        out_dir: Path,
        profile: Profile,
        seed: int,
        device: torch.device,
        store: ActivationStore,
        asked: Mapping[str, Any],
        plan: Schedule,
    ) -> None:
        self._out_dir = out_dir
        self._profile = profile
        self._seed = seed
        self._generators = 0
        self.device = device
        self.batch_size = profile.training.batch_size
        self.steps = plan.steps
        self._plan = plan
        self.d_model = int(store.acts.shape[1])
        self.sources: tuple[str, ...] = tuple(store.sources)
        self.scale = float(store.scale)
        self._store = store
        self._asked = dict(asked)
        self._began = time.monotonic()
        self._settings: dict[str, Any] = {}
        self._overrides: dict[str, Any] = {}
        self._delivered: int | None = None
        self._looked_at = 0
        self._source: Source | None = None
        self._curves: list[tuple[int, dict[str, Value]]] = []
        self._updates = Updates()
        self._meter: Meter | None = None
        self._handed_out = Digest()
        random.seed(derived(seed, "random"))
        np.random.seed(derived(seed, "numpy") % 2**32)
        torch.manual_seed(derived(seed, "torch"))

    def configure(self, config: Config) -> Config:
        """Complete an experiment's settings and note them as the run's.

        A field that is None takes the profile's value (d_sae, k, lr, warmup_fraction, decay_fraction, and what the
        profile lists under training.settings); the caller's overrides replace anything.

        Args:
            config: a dataclass instance.

        Returns:
            A new one of the same class.

        Raises:
            LabError: an override names no field, or its value is of another type.
        """
        if not dataclasses.is_dataclass(config) or isinstance(config, type):
            raise LabError("run.configure() takes an instance of a dataclass")
        training = self._profile.training
        fills = {name: getattr(training, name) for name in ("d_sae", "k", "lr", "warmup_fraction", "decay_fraction")}
        fills.update(training.settings)
        values = {item.name: getattr(config, item.name) for item in dataclasses.fields(config)}
        filled = {name: fills[name] for name, value in values.items() if value is None and name in fills}
        self._overrides = _checked(self._asked, {**values, **filled})
        made = dataclasses.replace(config, **{**filled, **self._overrides})
        self._settings = {item.name: getattr(made, item.name) for item in dataclasses.fields(made)}
        if observer := OBSERVER.get():
            observer.configured(made)
        return made

    @property
    def seed(self) -> int:
        """Not for experiments.

        Raises:
            LabError: always.
        """
        raise LabError("run.seed is the lab's; a generator of your own is run.generator()")

    def generator(self) -> torch.Generator:
        """A generator on the run's device that starts from the run's seed; each call gives another."""
        self._generators += 1
        return torch.Generator(self.device).manual_seed(derived(self._seed, f"generator {self._generators}"))

    def autocast(self) -> AbstractContextManager[Any]:
        """bfloat16 matrix products where the hardware has them: CUDA, or a CPU that the profile says has them."""
        if self.device.type == "cuda" or self._profile.subject.dtype == "bfloat16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def first_acts(self, count: int = 4096) -> Tensor:
        """[count, d_model] scaled activations for a data-dependent start; they are part of the run's own data.

        Raises:
            LabError: more than 16,384 and more than a batch are asked for.
        """
        most = max(_FIRST_ACTS, self.batch_size)
        if count > most:
            raise LabError(f"run.first_acts() gives at most {most}: train on run.batches()")
        source = Source(self._store, torch.device("cpu"))
        rows = torch.from_numpy(order(self._seed, 0, len(self._store))[:count])
        found = source.handed_out(source.gather(rows)).to(self.device)
        self._looked_at += len(found)
        return found

    def batches(self) -> Iterator[Batch]:
        """The run's data, once: the seed's order, epoch after epoch, exactly the budget of tokens.

        Raises:
            LabError: they are asked for a second time.
        """
        if self._delivered is not None:
            raise LabError("run.batches() can be gone through once: the budget of tokens is the lab's")
        self._delivered = 0
        source = self._source = Source(self._store, self.device)
        observer = OBSERVER.get()
        meter = self._meter
        if meter:
            meter.pause()
        try:
            for step, (rows, gathered) in zip(self._plan.numbers, self._gathered(source)):
                self._handed_out.add(rows.numpy())
                batch = Batch(step, source.handed_out(gathered), rows, source)
                if observer:
                    observer.batch(batch)
                if meter:
                    meter.step(self._delivered)
                self._delivered += 1
                yield batch
                if meter:
                    meter.pause()
            if observer:
                observer.exhausted()
        finally:
            if meter:
                meter.step(len(self._plan.numbers))

    def _gathered(self, source: Source) -> Iterator[tuple[Tensor, Tensor]]:
        numbers = self._plan.numbers
        drawn = batches(self._seed, len(self._store), self.batch_size, numbers, self._plan.period)
        rows = track(map(torch.from_numpy, drawn), "training", len(numbers))
        if self.device.type != "cuda" or source.resident:
            for chosen in rows:
                yield chosen, source.gather(chosen)
            return
        # Copies to a GPU overlap with its work only from pinned memory, and one thread cannot gather fast enough.
        waiting: deque[tuple[Tensor, Future[Tensor]]] = deque()
        with ThreadPoolExecutor(_PREFETCH_THREADS) as pool:
            for chosen in rows:
                waiting.append((chosen, pool.submit(source.gather, chosen)))
                if len(waiting) > _PREFETCH_DEPTH:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()

    def log(self, step: int, **values: Value) -> None:
        """Note values of a step; tensors are kept where they are and read at the end, so a GPU is not waited for.

        Args:
            step: the step they belong to.
            values: numbers or tensors of one element.
        """
        kept = {
            name: value.detach().clone() if isinstance(value, Tensor) else float(value)
            for name, value in values.items()
        }
        self._curves.append((step, kept))
        if observer := OBSERVER.get():
            observer.logged(values)

    def save(self, module: nn.Module, architecture: str) -> Artifact:
        """Write the SAE to out_dir/sae/ and the record of the run to out_dir/training.json.

        Args:
            module: as `lab.artifact.save` takes it.
            architecture: its name, such as "topk".

        Raises:
            LabError: what `lab.artifact.save` refuses, the folder cannot be written, one was saved before, or the run
                used more than its budget: a second optimiser step on a batch, or a seed of its own.
        """
        measured = compute(module, self._updates, self._meter)
        self._check_budget()
        if observer := OBSERVER.get():
            observer.saving(module)
        curves, broken = self._read_curves()
        if broken:
            log.warning("not finite: %s", ", ".join(f"{name} at step {step}" for name, step in broken.items()))
        steps = self._delivered or 0
        passes = {"passes": self._plan.passes} if self._plan.period else {}
        record: dict[str, Any] = {
            "settings": self._settings,
            "overrides": {**self._overrides, **passes},
            **passes,
            "profile": self._profile.name,
            "seed": self._seed,
            "steps": steps,
            "tokens": min(steps, self._plan.period or steps) * self.batch_size,
            "rows": self._rows_read(),
            "batch_size": self.batch_size,
            "optimizer_steps": self._updates.most,
            **measured,
            "batches": str(self._handed_out),
            "data": self._store.fingerprint,
            "device": self.device.type,
            "dtype": "float32" if isinstance(self.autocast(), nullcontext) else "bfloat16",
            "architecture": architecture,
            "versions": {name: importlib.metadata.version(name) for name in ("torch", "numpy")},
        }
        subject = self._profile.subject
        meta = {
            **record,
            "k": getattr(module, "k", None),
            "subject": {"name": subject.name, "source": subject.source, "layer": subject.layer},
            "hook": f"blocks.{subject.layer}.hook_resid_post",
            "context": self._profile.corpus.context,
        }
        saved = artifact.save(
            self._out_dir / "sae", module, input_scale=self.scale, meta=meta, sample_acts=self._sample_acts()
        )
        record["sae"] = saved.fingerprint
        record["seconds"] = round(time.monotonic() - self._began, 2)
        record["nonfinite"] = broken
        record["curves"] = curves
        _writing(self._out_dir, lambda: cache.write_json(self._out_dir / "training.json", record))
        keep(self._out_dir / "training.json", self._out_dir / "sae" / artifact.CARD)
        return saved

    def _rows_read(self) -> int:
        """The rows of activations that were handed out: of batches, of what is beside them, of too many looks before.

        The start may look at some of the run's own rows once, which come again in the batches.
        """
        given = self._source.given if self._source else 0
        return given + max(0, self._looked_at - max(_FIRST_ACTS, self.batch_size))

    def _check_budget(self) -> None:
        batches, updates = self._delivered or 0, self._updates.most
        if updates > batches:
            raise LabError(f"{updates} optimiser steps were done on {batches} batches: the budget is one step a batch")
        if torch.initial_seed() != derived(self._seed, "torch"):
            raise LabError("torch was seeded anew: the seed is the lab's")

    def _sample_acts(self) -> Tensor:
        """[256, d_model] raw activations, the same for every seed."""
        rows = torch.linspace(0, len(self._store) - 1, min(len(self._store), _CHECK_ROWS)).long()
        return self._store.acts[rows].float()

    def _read_curves(self) -> tuple[dict[str, list[float | None]], dict[str, int]]:
        """The logged values by name (None where a step lacks one), and the first step at which one was not finite."""
        names = sorted({name for _, values in self._curves for name in values})
        steps = sorted({step for step, _ in self._curves})
        index = {step: place for place, step in enumerate(steps)}
        curves: dict[str, list[float | None]] = {name: [None] * len(steps) for name in names}
        broken: dict[str, int] = {}
        for step, values in self._curves:
            for name, value in values.items():
                number = float(value)
                if math.isfinite(number):
                    curves[name][index[step]] = number
                else:
                    broken.setdefault(name, step)
        return {"step": [float(step) for step in steps], **curves}, broken


def start(out_dir: str | Path) -> Run:
    """Begin the run that the caller's environment describes.

    Args:
        out_dir: the run's folder; made when it is not there.

    Raises:
        LabError: as `begin`, a variable makes no sense, or this process began its run before.
    """
    given = (GIVEN.get() or Given(os.environ)).begin()
    profile, data = load_profile(given.profile), given.activations
    plan = schedule(profile.training.steps, given.max_steps, given.smoke_steps, given.passes)
    folder, seed = given.out_dir or out_dir, given.seed
    run = begin(folder, profile, seed, given.device, overrides=given.settings, plan=plan, data=data)
    if observer := OBSERVER.get():
        observer.started(profile, run._sample_acts)
    if GIVEN.get():  # a process for this run alone
        run._meter = Meter(len(plan.numbers), derived(seed, "counted steps"))
    return run


def begin(
    out_dir: str | Path,
    profile: Profile,
    seed: int,
    device: str | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    plan: Schedule | None = None,
    data: Path | None = None,
) -> Run:
    """Begin a run: seed everything, open the activations (made first where they are missing).

    Args:
        out_dir: the run's folder; made when it is not there.
        profile: the model, the data and the budget.
        seed: of the order of the data and of all generators.
        device: "cpu", "cuda" …; None takes CUDA where there is one.
        overrides: settings that replace those of the experiment's configuration.
        plan: the steps that are done; None for the whole budget.
        data: the folder of the activations, where the caller made them; None for the profile's.

    Raises:
        LabError: the seed is below 0; the folder cannot be written; the device is unknown; the activations cannot be
            made.
    """
    if seed < 0:
        raise LabError(f"the seed must be 0 or more, not {seed}")
    compiler.put_off()
    folder = Path(out_dir).resolve()
    _writing(folder, lambda: _try_folder(folder))
    place = choose_device(device)
    store = read_store(data) if data else open_store(profile, device=str(place))
    return Run(folder, profile, seed, place, store, overrides or {}, plan or schedule(profile.training.steps))


def _try_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def _writing(folder: Path, write: Callable[[], None]) -> None:
    try:
        write()
    except (FileExistsError, NotADirectoryError) as error:
        raise LabError(f"--out_dir {folder} is not a folder: give another one") from error
    except OSError as error:
        raise LabError(f"cannot write to --out_dir {folder}: {error.strerror}") from error


def _checked(overrides: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Overrides of an experiment's settings, checked against the values they replace."""
    for name, value in overrides.items():
        if name not in values:
            raise LabError(f"SAE_LAB_SETTINGS: no setting {name!r}; there are {', '.join(sorted(values))}")
        old = values[name]
        kinds = (int, float) if isinstance(old, float) else type(old)
        if old is not None and (isinstance(value, bool) != isinstance(old, bool) or not isinstance(value, kinds)):
            raise LabError(f"SAE_LAB_SETTINGS: {name} is a {type(old).__name__}, not {value!r}")
    return overrides
