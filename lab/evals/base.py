"""The base of evaluations: their shape, the context of a call, keys and set-ups."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch

from lab import cache
from lab.devices import choose_device
from lab.errors import LabError
from lab.evals.metric import Metric
from lab.progress import Progress
from lab.settings import Profile
from lab.sources import source_hash

if TYPE_CHECKING:
    from torch import Tensor

    from lab.artifact import Artifact
    from lab.corpus import Corpus
    from lab.judge import Judge
    from lab.subject import Subject

Build = Callable[[Path], None]
T = TypeVar("T")

_KEPT_BYTES = {"cpu": 2**31, "cuda": 2**33}  # of one SAE's latents; what does not fit is made again when asked for


@dataclass(frozen=True)
class Scores:
    """The scores of one evaluation for one SAE.

    `metrics` holds finite numbers only: one that is undefined for this SAE is left out and named, with the reason, in
    ``details["undefined"]``. `details` is plain data for plots and for a closer look.
    """

    metrics: dict[str, float]
    details: dict[str, Any]


class Setup(Protocol):
    """The part of an evaluation that is made once for all SAEs of one model, layer and data."""

    @property
    def d_model(self) -> int | None:
        """Width of the residuals in it, which an SAE must read; None where there are none."""


class Evaluation(Protocol):
    """The shape of a module that is an evaluation. One that asks a language model also has ``NEEDS_JUDGE = True``."""

    __name__: str
    METRICS: Mapping[str, Metric]
    Settings: type

    def data(self, ctx: Context, settings: Any) -> str:
        """A fingerprint of the text, words or labels that are scored on."""

    def prepare(self, ctx: Context, settings: Any) -> Setup:
        """The set-up, which no SAE enters: made once for a model, layer and data, then read from the cache."""

    def score(self, ctx: Context, setup: Any, sae: Artifact, settings: Any) -> Scores:
        """Score one SAE."""


class Context:
    """The context of the evaluations of one call. The language model is loaded when first asked for, once.

    Args:
        profile: whose subject model and text are used.
        device: "cpu", "cuda" …; None takes CUDA where there is one.
        judge: the language model that autointerp asks, if there is one.
        announce: is given a line about what is going to cost money.
    """

    def __init__(
        self,
        profile: Profile,
        device: str | None = None,
        judge: Judge | None = None,
        announce: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.profile = profile
        self.judge = judge
        self.announce = announce
        self._device = device
        self._kept: tuple[str, dict[str, Any]] = ("", {})

    @cached_property
    def subject(self) -> Subject:
        """The language model under study."""
        from lab.subject import load_subject

        with Progress(f"loading {self.profile.subject.name}"):
            return load_subject(self.profile.subject, self._device)

    @cached_property
    def subject_fingerprint(self) -> str:
        """The identity of the language model, its layer, dtype and kind of device; known before it is loaded."""
        from lab.subject import subject_fingerprint

        return subject_fingerprint(self.profile.subject, self._device) or self.subject.fingerprint

    @cached_property
    def device(self) -> torch.device:
        """The device that models and SAEs are run on."""
        return choose_device(self._device)

    @cached_property
    def dtype(self) -> str:
        """The language model's dtype."""
        from lab.subject import choose_dtype

        return str(choose_dtype(self.profile.subject.dtype, self.device)).removeprefix("torch.")

    @cached_property
    def corpus(self) -> Corpus:
        """The profile's text, of which the evaluations use the held-out part."""
        from lab.corpus import Corpus

        return Corpus(self.profile.corpus)

    def held_out(self, count: int) -> Tensor:
        """The first `count` blocks of text that is never trained on, [count, context] int64, padded on the right.

        Raises:
            LabError: there are fewer.
        """
        from lab.corpus import eval_blocks

        return eval_blocks(self.corpus, self.subject, count).tokens

    def remembered(self, sae: Artifact, key: str, make: Callable[[], T]) -> T:
        """A value that several evaluations ask of one SAE, made once. It is forgotten with the next SAE.

        Args:
            sae: the SAE.
            key: what is asked of it.
            make: makes it; a dataclass of tensors.
        """
        if self._kept[0] != sae.fingerprint:
            self._kept = (sae.fingerprint, {})
        kept = self._kept[1]
        if key in kept:
            found: T = kept[key]
            return found
        found = make()
        if sum(map(_bytes, [*kept.values(), found])) <= _KEPT_BYTES.get(sae.device.type, 2**31):
            kept[key] = found
        return found

    def key(self, name: str, evaluation: Evaluation, settings: Any) -> dict[str, str]:
        """Everything a score depends on beside the SAE."""
        return {
            # first, because it also finds a device that is not there
            "subject": self.subject_fingerprint,
            "evaluator": source_hash(evaluation.__name__),
            "settings": cache.fingerprint(settings),
            "data": evaluation.data(self, settings),
            "device": self.device.type,
            "dtype": self.dtype,
        }

    def cached(self, name: str, evaluation: Evaluation, settings: Any, fields: Iterable[str], build: Build) -> Path:
        """The folder of an evaluation's set-up.

        Args:
            name: the evaluation's.
            evaluation: its module.
            settings: its settings.
            fields: names of the settings that the set-up depends on.
            build: fills the folder the first time.
        """
        used = {field: getattr(settings, field) for field in fields}
        key = {**self.key(name, evaluation, settings), "settings": cache.fingerprint(used)}
        return cache.entry("evals", {"eval": name, **key}, build)


def read_settings(evaluation: Evaluation, name: str, overrides: Mapping[str, Any]) -> Any:
    """An evaluation's settings: its defaults, with the profile's overrides.

    Raises:
        LabError: an override's name is unknown, or its value is of another type than the default's.
    """
    defaults = evaluation.Settings()
    fields = {field.name: getattr(defaults, field.name) for field in dataclasses.fields(defaults)}
    chosen = dict(overrides)
    for key, value in overrides.items():
        if key not in fields:
            raise LabError(f"evals.{name}.{key}: unknown setting; allowed here: {', '.join(sorted(fields))}")
        default = fields[key]
        if isinstance(default, tuple) and isinstance(value, list):
            _check_items(f"evals.{name}.{key}", value, default)
            chosen[key] = tuple(value)
            continue
        allowed = (int, float) if isinstance(default, float) else type(default)
        if isinstance(value, bool) != isinstance(default, bool) or not isinstance(value, allowed):
            raise LabError(f"evals.{name}.{key}: {value!r} is not a {type(default).__name__}")
    return evaluation.Settings(**{**fields, **chosen})


def _check_items(where: str, value: list[Any], default: tuple[Any, ...]) -> None:
    """A list of settings holds at least one item, all of the kind that the default's are."""
    kind = type(default[0])
    if not value or not all(type(item) is kind for item in value):
        raise LabError(f"{where}: {value!r} is not a list of {kind.__name__}")


def _bytes(value: object) -> int:
    """Memory of the tensors among a dataclass's fields."""
    return sum(part.numel() * part.element_size() for part in vars(value).values() if isinstance(part, torch.Tensor))


def needs_judge(evaluation: Evaluation) -> bool:
    """Tell whether an evaluation asks a language model, which its caller names: it is no part of "all" without one."""
    return bool(getattr(evaluation, "NEEDS_JUDGE", False))
