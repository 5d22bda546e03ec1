"""Where a campaign stands, as its ledger tells it (`agent.campaign.history`), and what comes next."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from agent.campaign.confirmation import Confirmation
from agent.campaign.events import (
    BaselinesMade,
    FailureEvent,
    Matched,
    PlotFailed,
    Ran,
    Refereed,
    Scored,
    Smoked,
    SmokeFailed,
    Submitted,
)
from agent.campaign.repeats import Looked, SeedTrained
from agent.campaign.settings import Settings
from agent.results.predictions import Prediction

_LOOKED_AT = 4  # the first of `agent.results.compare.RULES` by which runs get more seeds


@dataclass
class Refusal:
    """A reply that was not taken.

    Args:
        kind: The budget it counts against: `format`, `lint`, `same`, `protected`, `length` or `shape`.
        feedback: What the model was told.
        pending: The good blocks that wait for the rest, as JSON.
        reply: The edits as the model wrote them.
        said: Its analysis, change and prediction, which need not be said again.
    """

    kind: str
    feedback: str
    pending: list[Any] = field(default_factory=list)
    reply: str = ""
    said: dict[str, str] = field(default_factory=dict)


@dataclass
class Attempt:
    """One edit of a run that was taken, and what became of it.

    `baseline_set` is the number of the set of baselines that was valid when the run was scored, and with which it is
    compared. `changed` names what had changed since these were made, where the user went on all the same. `repeats` are
    the seeds it was trained with besides its first, `look` the last comparison that decided on more.
    """

    number: int
    commit: str
    parent: str
    code: str
    change: str
    prediction: str
    predictions: list[Prediction]
    remarks: str = ""
    smoke: Smoked | None = None
    ran: Ran | None = None
    failure: FailureEvent | None = None
    score: Scored | None = None
    matched: Matched | None = None
    repeats: list[SeedTrained] = field(default_factory=list)
    look: Looked | None = None
    refereed: Refereed | None = None
    baseline_set: int = 0
    changed: tuple[str, ...] = ()


@dataclass
class Run:
    """One numbered run: its attempts, and the replies refused on the way."""

    number: int
    attempts: list[Attempt] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    given_up: str = ""
    analysis: str = ""

    @property
    def name(self) -> str:
        """Its name in references and as a folder."""
        return f"run_{self.number}"

    @property
    def last(self) -> Attempt | None:
        """The newest attempt."""
        return self.attempts[-1] if self.attempts else None

    @property
    def smoke_failures(self) -> int:
        """The number of attempts that ended in their smoke run."""
        return sum(isinstance(attempt.failure, SmokeFailed) for attempt in self.attempts)

    @property
    def started(self) -> int:
        """The number of attempts that were really run."""
        return len(self.attempts) - self.smoke_failures

    @property
    def status(self) -> Literal["open", "scored", "failed", "refused"]:
        """`open` until it is scored or given up."""
        if self.last and self.last.score:
            return "scored"
        if self.given_up:
            return "failed" if self.attempts else "refused"
        return "open"


@dataclass
class State:
    """A campaign as its ledger tells it.

    `making` holds the hashes of each seed of a baseline that was trained, by the name of the baseline in the cache;
    `closing_set` is the set of baselines that the closing analysis speaks of; `plot_edited` the commit of a `plot.py`
    that is to be run, `plots` that of the newest one; `calls` and `referee_calls` the last lines of the transcripts of
    the model and of its referee that events have used; `commitment` the hash of the secret that seeds are drawn from,
    and `revealed` that secret, once it is told.
    """

    settings: Settings
    idea: str
    template: str
    commitment: str = ""
    revealed: str = ""
    baseline_sets: list[BaselinesMade] = field(default_factory=list)
    making: dict[str, dict[int, dict[str, str]]] = field(default_factory=dict)
    stale: bool = False
    changed: tuple[str, ...] = ()
    confirmation: Confirmation | None = None
    runs: list[Run] = field(default_factory=list)
    closing: str = ""
    closing_set: int | None = None
    ended: str = ""
    plot_edited: str = ""
    plots: str = ""
    plot_refusals: list[Refusal] = field(default_factory=list)
    plot_failures: list[PlotFailed] = field(default_factory=list)
    figures: dict[str, str] | None = None
    hashes: dict[str, dict[str, str]] = field(default_factory=dict)
    calls: int = 0
    referee_calls: int = 0
    completed: bool = False
    jobs: dict[str, Submitted] = field(default_factory=dict)

    @property
    def baselines(self) -> BaselinesMade | None:
        """The event of the newest baselines; None where there are none, or they have to be made again."""
        return self.baseline_sets[-1] if self.baseline_sets and not self.stale else None

    @property
    def baseline_seeds(self) -> dict[str, int]:
        """The seeds of baselines by name, with the run that each was trained for first; 0 for the profile's."""
        made = dict.fromkeys((name for one in self.baseline_sets for name in one.runs), 0)
        for run in self.runs:
            for attempt in run.attempts:
                for names in (
                    attempt.matched.runs if attempt.matched else (),
                    attempt.look.match if attempt.look else (),
                ):
                    made |= {name: run.number for name in names if name not in made}
        return made

    @property
    def unmatched(self) -> Run | None:
        """The newest run, where it waits for baselines without which there is no verdict."""
        last = self.runs[-1].last if self.runs else None
        waits = last and last.score and last.score.match and not last.matched
        return self.runs[-1] if waits and self.settings.matched else None

    @property
    def open_look(self) -> Run | None:
        """The newest run, where it may get more seeds."""
        last = self.runs[-1].last if self.runs else None
        if last is None or last.score is None or last.score.rules < _LOOKED_AT or self.settings.seeds == 1:
            return None
        return self.runs[-1] if last.look is None or last.look.wanted > last.look.seeds else None

    @property
    def unread(self) -> Run | None:
        """The oldest scored run that the referee has not read, where there is one to read it."""
        unread = (run for run in self.scored if run.last and not run.last.refereed)
        return next(unread, None) if self.settings.referee else None

    @property
    def open_run(self) -> Run | None:
        """The run that is under way."""
        return self.runs[-1] if self.runs and self.runs[-1].status == "open" else None

    @property
    def scored(self) -> list[Run]:
        """The runs that have results."""
        return [run for run in self.runs if run.status == "scored"]

    @property
    def base(self) -> str:
        """The commit that the next edit starts from: the last code that worked, or the one under repair."""
        run = self.open_run
        if run and run.last:
            return run.last.commit
        scored = [run.last.commit for run in self.scored if run.last]
        return scored[-1] if scored else self.template

    def earlier_code(self) -> dict[str, str]:
        """The code key of everything that ran, to what it was."""
        return {attempt.code: _name(run, attempt) for run in self.runs for attempt in run.attempts}


Step = Literal[
    "baselines",
    "propose",
    "smoke",
    "train",
    "score",
    "match",
    "repeat",
    "referee",
    "confirm",
    "plot_edit",
    "plot",
    "finish",
    "done",
]


def next_step(state: State) -> tuple[Step, Run | None]:
    """Choose the next step of a campaign; a pure function of where it stands.

    Args:
        state: As `read_state` gives it.

    Returns:
        The step, and the run it is about, if it is about one.
    """
    if state.baselines is None:
        return "baselines", None
    if run := state.open_run:
        if run.last is None or run.last.failure:
            return "propose", run
        if run.last.smoke is None:
            return "smoke", run
        return ("score" if run.last.ran else "train"), run
    if run := state.unmatched:
        return "match", run
    if run := state.open_look:
        return "repeat", run
    if run := state.unread:
        return "referee", run
    if not state.ended and len(state.runs) < state.settings.max_runs:
        return "propose", Run(len(state.runs) + 1)
    if state.figures is None and state.settings.confirm and not (state.confirmation and state.confirmation.closed):
        return "confirm", None
    if state.figures is None:
        return ("plot" if state.plot_edited else "plot_edit"), None
    return ("done" if state.completed else "finish"), None


def attempts_exhausted(run: Run, settings: Settings) -> str:
    """Why a run is not mended once more after its last attempt failed; nothing when it is.

    Args:
        run: One that is open.
        settings: The campaign's.
    """
    failure = run.last.failure if run.last else None
    if failure is None:
        return ""
    if isinstance(failure, SmokeFailed):
        count = run.smoke_failures
        return f"{count} smoke runs failed, last: {failure.reason}" if count >= settings.smoke_tries else ""
    return f"failed {run.started} times, last: {failure.reason}" if run.started >= settings.attempts else ""


def exhausted(refusals: list[Refusal], settings: Settings) -> str:
    """The kind of refusal whose budget is used up, or nothing."""
    for kind, count in Counter(refusal.kind for refusal in refusals).items():
        if count >= settings.tries(kind):
            return kind
    return ""


def _name(run: Run, attempt: Attempt) -> str:
    failed = f" (attempt {attempt.number}, which failed)" if attempt.failure else ""
    return f"run_{run.number}{failed}"
