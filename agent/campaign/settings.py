"""The settings of a campaign: given on the command line, kept in the ledger's first event."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    model_serializer,
    model_validator,
)

from agent.compute.executor import EXECUTORS, settings_types
from agent.compute.settings import ExecutorSettings
from agent.models import same_model

Count = Annotated[int, Field(ge=1)]


def _not_one(seeds: int) -> int:
    if seeds == 1:
        raise ValueError("one seed tells nothing of the noise: 0, or 2 and more")
    return seeds


def _in_table(executor: str) -> str:
    if executor not in EXECUTORS:
        raise ValueError(f"there are {', '.join(EXECUTORS)}")
    return executor


def _another(referee: str, info: ValidationInfo) -> str:
    if referee and same_model(referee, info.data.get("model", "")):
        raise ValueError("name another model than the one that writes")
    return referee


class Settings(BaseModel):
    """The settings of a campaign.

    Args:
        profile: The lab's profile, a bundled name or the path of a TOML file.
        model: Who answers, for example `anthropic:NAME` or `replay:PATH`.
        referee: Another model, which reads the change of each run and decides nothing; empty for none.
        editor: Who applies the edits: our own `blocks`, or `aider` under the same gate.
        max_runs: The most runs that are made.
        format_tries: The most replies refused for their form before a run is given up: blocks that do not apply, a
            section that is missing, code that an earlier run had, what only the lab may do. Each of these is counted by
            itself.
        lint_tries: The same for edits that add fatal errors.
        length_tries: The same for replies cut off at the token limit.
        smoke_tries: The most smoke runs of one run that may fail before it is given up.
        attempts: The most times one run is started, its failures mended between.
        run_seconds: The time limit of a run; None takes the profile's.
        evals: The evaluations that score a run; None takes the profile's.
        device: `cpu`, `cuda`, or None for what there is.
        gpus: How many GPUs a run gets, where there are any.
        executor: Where runs are run, a name of `agent.compute.executor.EXECUTORS`.
        executor_settings: What is asked of executors, by name. In the ledger each stands under its executor's name
            (`slurm`) beside the other settings, null where nothing is asked.
        sandbox: Whether what the model writes is contained; False only by the user's word.
        goal: The metric by which one run is better than another; None takes explained variance where it is scored.
        smallest: The smallest effect that matters, by metric and in its unit; of others it is a share of their value.
        guards: The metrics that must not get worse, with by how much they may; None for as much as would matter.
        seeds: The most seeds that a run gets before its verdict: 1, 3 or 6.
        confirm: With how many fresh seeds the best run is confirmed; 0 for not at all.
        matched: Whether a run at another L0 gets a baseline at that L0.
        stale_ok: Whether to go on with baselines that something changed since, and give no verdicts against them.
        budget_usd: A stop on the dollars that the model may cost.
        budget_tokens: A stop on the tokens sent and received.
        together: The folders of the campaigns that share these budgets, beside each other.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: str = "smollm2"
    model: str = "auto"
    referee: Annotated[str, AfterValidator(_another)] = ""
    editor: Literal["blocks", "aider"] = "blocks"
    max_runs: Count = 10
    format_tries: Count = 3
    lint_tries: Count = 3
    length_tries: Count = 3
    smoke_tries: Count = 3
    attempts: Count = 4
    run_seconds: Annotated[float, Field(gt=0)] | None = None
    evals: tuple[str, ...] | None = None
    device: str | None = None
    gpus: Count = 1
    executor: Annotated[str, AfterValidator(_in_table)] = "local"
    executor_settings: dict[str, SerializeAsAny[ExecutorSettings]] = Field(default_factory=dict)
    sandbox: bool = True
    goal: str | None = None
    smallest: dict[str, float] = Field(default_factory=dict)
    guards: dict[str, float | None] = Field(default_factory=dict)
    seeds: Literal[1, 3, 6] = 1
    confirm: Annotated[int, Field(ge=0), AfterValidator(_not_one)] = 3
    matched: bool = True
    stale_ok: bool = False
    budget_usd: Annotated[float, Field(gt=0)] | None = None
    budget_tokens: Count | None = None
    together: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        types = settings_types()
        asked = {name: types[name].model_validate(given[name]) for name in types if given.get(name) is not None}
        return {**{key: value for key, value in given.items() if key not in types}, "executor_settings": asked}

    @model_serializer(mode="wrap")
    def _spread(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        spread: dict[str, Any] = {}
        for key, value in dump(self).items():
            own = key == "executor_settings"
            spread |= {name: value.get(name) for name in settings_types()} if own else {key: value}
        return spread

    def tries(self, kind: str) -> int:
        """The number of replies refused for one kind of fault that ends a run."""
        return {"lint": self.lint_tries, "length": self.length_tries}.get(kind, self.format_tries)
