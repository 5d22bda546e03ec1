"""The settings of a campaign: given on the command line, kept in the ledger's first event."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from agent.compute.slurm.settings import SlurmSettings

Count = Annotated[int, Field(ge=1)]


def _not_one(seeds: int) -> int:
    if seeds == 1:
        raise ValueError("one seed tells nothing of the noise: 0, or 2 and more")
    return seeds


class Settings(BaseModel):
    """The settings of a campaign.

    Args:
        profile: The lab's profile, a bundled name or the path of a TOML file.
        model: Who answers, for example `anthropic:NAME` or `replay:PATH`.
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
        executor: Where runs are run, on this machine or on a Slurm cluster.
        slurm: What the cluster is asked for; None for what follows from the limits of a run.
        sandbox: Whether what the model writes is contained; False only by the user's word.
        goal: The metric by which one run is better than another; None takes explained variance where it is scored.
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
    executor: Literal["local", "slurm"] = "local"
    slurm: SlurmSettings | None = None
    sandbox: bool = True
    goal: str | None = None
    confirm: Annotated[int, Field(ge=0), AfterValidator(_not_one)] = 3
    matched: bool = True
    stale_ok: bool = False
    budget_usd: Annotated[float, Field(gt=0)] | None = None
    budget_tokens: Count | None = None
    together: tuple[str, ...] = ()

    def tries(self, kind: str) -> int:
        """The number of replies refused for one kind of fault that ends a run."""
        return {"lint": self.lint_tries, "length": self.length_tries}.get(kind, self.format_tries)
