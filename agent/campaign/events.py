"""The events of a campaign, a class for each kind; its fields are the facts of the event, in the order of the ledger.

Ledgers are kept, so a class may gain fields that have defaults, and loses none. A new kind is a class here (those of
more seeds are in `agent.campaign.repeats`), its place in `agent.campaign.ledger.AnyEvent`, and a function in
`agent.campaign.history` that says what it changes.
"""

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from agent.campaign.settings import Settings
from agent.results.predictions import Prediction

# The SHA-256 of each file of a folder, by its path inside.
Hashes = dict[str, str]


class Event(BaseModel):
    """Something that happened.

    `kind` is its name in the ledger. It is no field: it stands beside the facts in a line, not among them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """Its fields as JSON values."""
        return self.model_dump(mode="json", by_alias=True)


class Started(Event):
    """The folder of a campaign was made, its first commit the template; always the first event, and only the first.

    Args:
        seeds: The hash of the secret that seeds are drawn from; empty where they are the profile's, as in 0.1.0.
    """

    kind: ClassVar[Literal["started"]] = "started"
    idea: str
    commit: str
    settings: Settings
    seeds: str = ""


class SettingsChanged(Event):
    """Settings were given anew, or the campaigns beside this one became known."""

    kind: ClassVar[Literal["settings"]] = "settings"
    settings: Settings


class Resumed(Event):
    """A launcher took the campaign up again."""

    kind: ClassVar[Literal["resumed"]] = "resumed"


class SandboxChosen(Event):
    """A launcher looked for what can hold the runs: `way` is `bubblewrap`, `landlock` or `none`."""

    kind: ClassVar[Literal["sandbox"]] = "sandbox"
    way: str
    said: str


class SeedsDrawn(Event):
    """A campaign goes on whose secret was revealed: another was drawn; `seeds` is its hash."""

    kind: ClassVar[Literal["seeds_drawn"]] = "seeds_drawn"
    seeds: str


class SeedsRevealed(Event):
    """The secret that seeds were drawn from is told: no more runs are made with it."""

    kind: ClassVar[Literal["seeds_revealed"]] = "seeds_revealed"
    secret: str


class Stopped(Event):
    """The user, a budget or an error ended a launcher."""

    kind: ClassVar[Literal["stopped"]] = "stopped"
    reason: str


class BaselineTrained(Event):
    """One seed of a baseline was trained; `key` is the baseline's name in the cache."""

    kind: ClassVar[Literal["baseline_trained"]] = "baseline_trained"
    key: str
    seed: int
    seconds: float
    files: Hashes


class BaselinesMade(Event):
    """The profile's baselines are in `run_0/`, trained or copied from the cache.

    Args:
        keys: Their names in the cache, by architecture.
        conditions: Everything that their scores depend on.
    """

    kind: ClassVar[Literal["baselines"]] = "baselines"
    keys: dict[str, str]
    runs: list[str]
    conditions: dict[str, Any]
    # A part of the conditions that earlier versions wrote a second time.
    facts: dict[str, Any] | None = Field(default=None, exclude=True)


class Stale(Event):
    """Something that the baselines depend on has changed.

    Args:
        changes: What, in words; none where it is again as it was.
        accepted: Whether the user goes on with them all the same.
    """

    kind: ClassVar[Literal["stale"]] = "stale"
    changes: list[str]
    accepted: bool


class RunEvent(Event):
    """Something that happened to one run."""

    run: int


class Refused(Event):
    """A reply of the model was not taken.

    Args:
        run: The run; None for an edit of the plots.
        call: Its line in the transcript, from 1.
        fault: The budget it counts against: `format`, `lint`, `same`, `protected`, `length` or `shape`.
        held: The good blocks that wait for the rest.
        said: Its analysis, change and prediction.
    """

    model_config = ConfigDict(populate_by_name=True)

    kind: ClassVar[Literal["refused"]] = "refused"
    run: int | None
    call: int
    fault: str = Field(validation_alias="kind", serialization_alias="kind")
    feedback: str
    held: list[dict[str, Any]]
    reply: str
    said: dict[str, str]


class Edited(RunEvent):
    """An edit of a run was taken and committed.

    Args:
        code: The key of the code, equal where two programs do the same.
        predictions: Its lines that name a metric.
        analysis: What the model said of the run before.
        remarks: What it is told of the edit at the next turn.
    """

    kind: ClassVar[Literal["edited"]] = "edited"
    commit: str
    parent: str
    code: str
    change: str
    prediction: str
    predictions: list[Prediction]
    analysis: str
    remarks: str = ""
    call: int


class Smoked(RunEvent):
    """An edit passed its smoke run.

    Args:
        weights: A hash of what each pass trained.
        later: Changed parts that only the real run can reach.
    """

    kind: ClassVar[Literal["smoked"]] = "smoked"
    seconds: float
    weights: list[str]
    settings: dict[str, str]
    later: list[str]


class FailureEvent(RunEvent):
    """An attempt of a run came to nothing.

    Args:
        attempt: Which of its attempts, from 1.
        output: The findings, or the end of the output.
        kept: The folder with what it left.
    """

    attempt: int
    reason: str
    output: str
    seconds: float
    kept: str


class SmokeFailed(FailureEvent):
    """An attempt ended in its smoke run."""

    kind: ClassVar[Literal["smoke_failed"]] = "smoke_failed"


class Failed(FailureEvent):
    """An attempt ended in its training, or its SAE could not be scored, or its score does not count."""

    kind: ClassVar[Literal["failed"]] = "failed"


class Ran(RunEvent):
    """A run saved its SAE; `idle` are changed parts of the script that never ran."""

    kind: ClassVar[Literal["ran"]] = "ran"
    seconds: float
    idle: list[str] = Field(default_factory=list)
    files: Hashes = Field(default_factory=dict)
    sandbox: str = ""


class Lost(RunEvent):
    """The files that a run saved are no more as they were, so it is trained again."""

    kind: ClassVar[Literal["lost"]] = "lost"


class Scored(RunEvent):
    """A run has results.

    Args:
        against: The baseline it was compared with.
        match: The k of the first baseline that has to be trained before there can be a verdict; None for none.
        missing: The settings of all of them.
        rules: The version of the rules by which it was compared; 1 up to version 0.1.0.
    """

    kind: ClassVar[Literal["scored"]] = "scored"
    seconds: float
    sandbox: str = ""
    sae: str
    against: str = ""
    verdicts: dict[str, str]
    match: int | None = None
    missing: list[dict[str, int | float]] = Field(default_factory=list)
    rules: int = 1


class Matched(RunEvent):
    """There are the baselines that a run waited for, and it is compared anew."""

    kind: ClassVar[Literal["matched"]] = "matched"
    k: int
    key: str
    runs: list[str]
    against: str
    verdicts: dict[str, str]


class Refereed(RunEvent):
    """Another model read a run's change; `failure` says why its findings are unknown. The last call is `call`."""

    kind: ClassVar[Literal["refereed"]] = "refereed"
    model: str
    findings: list[str]
    failure: str
    tokens: int
    dollars: float | None
    call: int


class GivenUp(RunEvent):
    """A run is left as it is: its attempts, or the replies that may be refused, are used up."""

    kind: ClassVar[Literal["given_up"]] = "given_up"
    reason: str


class Ended(Event):
    """The model wants no more runs; its analysis is of the last one."""

    kind: ClassVar[Literal["ended"]] = "ended"
    reason: str
    analysis: str
    call: int


class Confirming(Event):
    """It is decided which run is confirmed on fresh seeds; None where there is nothing to confirm."""

    kind: ClassVar[Literal["confirming"]] = "confirming"
    run: int | None
    against: str
    seeds: list[int]
    reason: str


class ConfirmTrained(Event):
    """One fresh seed was trained; `failure` says why it could not be, or nothing."""

    kind: ClassVar[Literal["confirm_trained"]] = "confirm_trained"
    seed: int
    seconds: float
    failure: str
    output: str
    kept: str


class ConfirmBaseline(Event):
    """The baseline with the same fresh seeds is there."""

    kind: ClassVar[Literal["confirm_baseline"]] = "confirm_baseline"
    baseline: str
    key: str


class Confirmed(RunEvent):
    """The confirmation is closed; `failure` says why it did not come to an end, or nothing."""

    kind: ClassVar[Literal["confirmed"]] = "confirmed"
    failure: str
    verdicts: dict[str, str]


class PlotEdited(Event):
    """There is a `plot.py` that is to be run."""

    kind: ClassVar[Literal["plot_edited"]] = "plot_edited"
    commit: str
    analysis: str
    call: int


class PlotFailed(Event):
    """`plot.py` failed, or what it made was refused."""

    kind: ClassVar[Literal["plot_failed"]] = "plot_failed"
    reason: str
    output: str


class Plotted(Event):
    """The figures are there, each with its description."""

    kind: ClassVar[Literal["plotted"]] = "plotted"
    figures: dict[str, str]


class Completed(Event):
    """The campaign is done; `differences` are those from the hashes in the ledger."""

    kind: ClassVar[Literal["completed"]] = "completed"
    runs: int
    scored: int
    differences: list[str] = Field(default_factory=list)


class Sealed(Event):
    """Hashes of a folder with results were taken."""

    kind: ClassVar[Literal["sealed"]] = "sealed"
    folder: str
    files: Hashes


class Submitted(Event):
    """A job was given to a cluster: `order` is the hash of what is to be run, `asked` of what it was asked for."""

    kind: ClassVar[Literal["submitted"]] = "submitted"
    label: str
    job: str
    folder: str
    order: str
    asked: str = ""


class Requeued(Event):
    """The job of a number ended without a result, in a state of the cluster, and is queued again.

    `count` is how often this launcher has queued it again; 0 for one that it found dead.
    """

    kind: ClassVar[Literal["requeued"]] = "requeued"
    label: str
    job: str
    state: str
    count: int
