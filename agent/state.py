"""Where a campaign stands, computed from its ledger, and what comes next."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ValidationError

from agent.confirmation import Confirmation
from agent.errors import AgentError
from agent.ledger import Event
from agent.reply import Prediction
from agent.settings import Settings


@dataclass
class Refusal:
    """A reply that was not taken.

    Args:
        kind: The budget it counts against: `format`, `lint`, `same`, `protected`, `length` or `shape`.
        feedback: What the model was told.
        held: The good blocks that wait for the rest, as JSON.
        reply: The edits as the model wrote them.
        said: Its analysis, change and prediction, which need not be said again.
    """

    kind: str
    feedback: str
    held: list[Any] = field(default_factory=list)
    reply: str = ""
    said: dict[str, str] = field(default_factory=dict)


@dataclass
class Attempt:
    """One edit of a run that was taken, and what became of it.

    `era` counts the sets of baselines; the run is compared with the one that was valid when it was scored. `changed`
    names what had changed since these were made, where the user went on all the same.
    """

    number: int
    commit: str
    parent: str
    code: str
    change: str
    prediction: str
    predictions: list[Prediction]
    remarks: str = ""
    smoke: dict[str, Any] | None = None
    ran: dict[str, Any] | None = None
    failure: dict[str, Any] | None = None
    score: dict[str, Any] | None = None
    matched: dict[str, Any] | None = None
    era: int = 0
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
    def last(self) -> Attempt | None:
        """The newest attempt."""
        return self.attempts[-1] if self.attempts else None

    @property
    def smoke_failures(self) -> int:
        """How many attempts ended in their smoke run."""
        return sum(bool(attempt.failure and attempt.failure.get("smoke")) for attempt in self.attempts)

    @property
    def started(self) -> int:
        """How many attempts were really run."""
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

    `making` holds the hashes of each seed of a baseline that was trained, by the name of the baseline in the cache.
    """

    settings: Settings
    idea: str
    template: str
    eras: list[dict[str, Any]] = field(default_factory=list)
    making: dict[str, dict[int, dict[str, str]]] = field(default_factory=dict)
    stale: bool = False
    changed: tuple[str, ...] = ()
    confirmation: Confirmation | None = None
    runs: list[Run] = field(default_factory=list)
    closing: str = ""
    ended: str = ""
    plot_edited: str = ""
    plot_refusals: list[Refusal] = field(default_factory=list)
    plot_failures: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, Any] | None = None
    sealed: dict[str, dict[str, str]] = field(default_factory=dict)
    calls: int = 0
    completed: bool = False

    @property
    def baselines(self) -> dict[str, Any] | None:
        """The event of the newest baselines; None where there are none, or they have to be made again."""
        return self.eras[-1] if self.eras and not self.stale else None

    @property
    def unmatched(self) -> Run | None:
        """The newest run, where it waits for a baseline at its L0."""
        last = self.runs[-1].last if self.runs else None
        waits = last and last.score and last.score.get("match") and not last.matched
        return self.runs[-1] if waits and self.settings.matched else None

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
    "execute",
    "score",
    "match",
    "confirm",
    "plot_edit",
    "plot",
    "finish",
    "done",
]


def next_step(state: State) -> tuple[Step, Run | None]:
    """What a campaign does next; a pure function of where it stands.

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
        return ("score" if run.last.ran else "execute"), run
    if run := state.unmatched:
        return "match", run
    if not state.ended and len(state.runs) < state.settings.max_runs:
        return "propose", Run(len(state.runs) + 1)
    if state.figures is None and state.settings.confirm and not (state.confirmation and state.confirmation.closed):
        return "confirm", None
    if state.figures is None:
        return ("plot" if state.plot_edited else "plot_edit"), None
    return ("done" if state.completed else "finish"), None


def exhausted(refusals: list[Refusal], settings: Settings) -> str:
    """The kind of refusal whose budget is used up, or nothing."""
    for kind, count in Counter(refusal.kind for refusal in refusals).items():
        if count >= settings.tries(kind):
            return kind
    return ""


def read_state(events: list[Event]) -> State:
    """Compute where a campaign stands.

    Args:
        events: The ledger's events, the first of which is `started`.

    Returns:
        The state.

    Raises:
        AgentError: The ledger is empty, or was written by a version that says things differently.
    """
    if not events:
        raise AgentError("the ledger is empty, so there is nothing to go on with; start the idea anew")
    first = events[0].data
    try:
        state = State(Settings.model_validate(first["settings"]), first["idea"], first["commit"])
        for event in events[1:]:
            _APPLY[event.kind](state, event.data)
    except (ValidationError, KeyError, TypeError) as error:
        what = " ".join(str(error).split())[:120]
        raise AgentError(f"the ledger is of another version of this program ({what}); start the idea anew") from error
    return state


def _name(run: Run, attempt: Attempt) -> str:
    failed = f" (attempt {attempt.number}, which failed)" if attempt.failure else ""
    return f"run_{run.number}{failed}"


def _run(state: State, number: int) -> Run:
    if len(state.runs) < number:
        state.runs.append(Run(number))
    return state.runs[number - 1]


def _last(state: State, data: dict[str, Any]) -> Attempt:
    return state.runs[data["run"] - 1].attempts[-1]


def _on_settings(state: State, data: dict[str, Any]) -> None:
    state.settings = Settings.model_validate(data["settings"])


def _on_baselines(state: State, data: dict[str, Any]) -> None:
    if "conditions" not in data:  # an older version's, whose baselines can't be told to be fresh
        raise KeyError("baselines without conditions")
    state.eras.append(data)
    state.stale, state.changed = False, ()
    state.sealed = {name: files for name, files in state.sealed.items() if not name.startswith("run_0/")}


def _on_baseline_trained(state: State, data: dict[str, Any]) -> None:
    state.making.setdefault(data["key"], {})[data["seed"]] = data["files"]


def _on_stale(state: State, data: dict[str, Any]) -> None:
    state.stale = not data["accepted"]
    state.changed = tuple(data["changes"]) if data["accepted"] else ()
    if state.open_run and state.open_run.last and state.stale:
        # Trained under the old conditions and not yet scored: it is trained again under the new ones.
        state.open_run.last.ran = None
    if state.confirmation and not state.confirmation.closed:
        state.confirmation = None


def _on_refused(state: State, data: dict[str, Any]) -> None:
    refusal = Refusal(**{key: data[key] for key in ("kind", "feedback", "held", "reply", "said")})
    state.calls = data["call"]
    if data["run"] is None:
        state.plot_refusals.append(refusal)
        return
    run = _run(state, data["run"])
    run.refusals.append(refusal)
    run.refused.append(refusal)


def _on_edited(state: State, data: dict[str, Any]) -> None:
    state.calls = data["call"]
    run = _run(state, data["run"])
    run.refusals = []
    predictions = [Prediction(**line) for line in data["predictions"]]
    kept = {key: data[key] for key in ("commit", "parent", "code", "change", "prediction")}
    # A campaign that was closed goes on: it has to be closed anew.
    state.confirmation, state.figures, state.plot_edited, state.completed = None, None, "", False
    number, remarks = len(run.attempts) + 1, data.get("remarks", "")
    run.attempts.append(Attempt(number, predictions=predictions, remarks=remarks, **kept))
    _analyse(state, data["run"] - 1, data["analysis"])


def _on_smoked(state: State, data: dict[str, Any]) -> None:
    _last(state, data).smoke = data


def _on_smoke_failed(state: State, data: dict[str, Any]) -> None:
    _last(state, data).failure = {**data, "smoke": True}


def _on_ran(state: State, data: dict[str, Any]) -> None:
    _last(state, data).ran = data


def _on_failed(state: State, data: dict[str, Any]) -> None:
    _last(state, data).failure = data


def _on_scored(state: State, data: dict[str, Any]) -> None:
    last = _last(state, data)
    last.score, last.era, last.changed = data, len(state.eras) - 1, state.changed


def _on_matched(state: State, data: dict[str, Any]) -> None:
    _last(state, data).matched = data


def _on_confirming(state: State, data: dict[str, Any]) -> None:
    state.confirmation = Confirmation.chosen(data)


def _on_confirm(state: State, data: dict[str, Any]) -> None:
    assert state.confirmation is not None
    state.confirmation.take(data)


def _on_given_up(state: State, data: dict[str, Any]) -> None:
    _run(state, data["run"]).given_up = data["reason"]


def _on_ended(state: State, data: dict[str, Any]) -> None:
    state.calls = data["call"]
    state.ended = data["reason"]
    if state.runs:
        _analyse(state, len(state.runs), data["analysis"])


def _on_plot_edited(state: State, data: dict[str, Any]) -> None:
    state.calls = data["call"]
    state.plot_edited = data["commit"]
    state.plot_refusals = []
    state.closing = data["analysis"] or state.closing


def _on_plot_failed(state: State, data: dict[str, Any]) -> None:
    state.plot_failures.append(data)
    state.plot_edited = ""


def _on_plotted(state: State, data: dict[str, Any]) -> None:
    state.figures = data


def _on_completed(state: State, data: dict[str, Any]) -> None:
    state.completed = True


def _on_sealed(state: State, data: dict[str, Any]) -> None:
    state.sealed[data["folder"]] = data["files"]


def _ignored(state: State, data: dict[str, Any]) -> None:
    """Events that tell of a campaign and change nothing in it."""


def _analyse(state: State, number: int, text: str) -> None:
    if text and 1 <= number <= len(state.runs):
        run = state.runs[number - 1]
        run.analysis = f"{run.analysis}\n\n{text}".strip()


_APPLY = {
    "settings": _on_settings,
    "baseline_trained": _on_baseline_trained,
    "baselines": _on_baselines,
    "refused": _on_refused,
    "edited": _on_edited,
    "smoked": _on_smoked,
    "smoke_failed": _on_smoke_failed,
    "ran": _on_ran,
    "failed": _on_failed,
    "scored": _on_scored,
    "matched": _on_matched,
    "stale": _on_stale,
    "confirming": _on_confirming,
    "confirm_trained": _on_confirm,
    "confirm_baseline": _on_confirm,
    "confirmed": _on_confirm,
    "given_up": _on_given_up,
    "ended": _on_ended,
    "plot_edited": _on_plot_edited,
    "plot_failed": _on_plot_failed,
    "plotted": _on_plotted,
    "completed": _on_completed,
    "sealed": _on_sealed,
    "stopped": _ignored,
    "resumed": _ignored,
    "sandbox": _ignored,
    "note": _ignored,
}
