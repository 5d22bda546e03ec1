"""The ledger read: what each kind of event changes in the state of a campaign."""

from collections.abc import Iterable, Sequence
from functools import singledispatch

from agent.base.errors import AgentError
from agent.campaign.confirmation import Confirmation
from agent.campaign.events import (
    BaselinesMade,
    BaselineTrained,
    Completed,
    ConfirmBaseline,
    Confirmed,
    Confirming,
    ConfirmTrained,
    Edited,
    Ended,
    Event,
    FailureEvent,
    GivenUp,
    Lost,
    Matched,
    PlotEdited,
    PlotFailed,
    Plotted,
    Ran,
    Refereed,
    Refused,
    Requeued,
    Resumed,
    RunEvent,
    SandboxChosen,
    Scored,
    Sealed,
    SeedsDrawn,
    SeedsRevealed,
    SettingsChanged,
    Smoked,
    Stale,
    Started,
    Stopped,
    Submitted,
)
from agent.campaign.ledger import other_version
from agent.campaign.repeats import Looked, SeedTrained
from agent.campaign.state import Attempt, Refusal, Run, State

# Events after which a step may still be under way, and with it the jobs that were submitted for it.
_WITHIN_STEPS = (Submitted, Requeued, Sealed, SettingsChanged, Stopped, Resumed, SandboxChosen)


def read_state(events: Sequence[Event]) -> State:
    """Compute where a campaign stands.

    Args:
        events: The ledger's events, the first of which is `Started`.

    Returns:
        The state.

    Raises:
        AgentError: The ledger is empty, or was written by a version that says things differently.
    """
    if not events:
        raise AgentError("the ledger is empty, so there is nothing to go on with; start the idea anew")
    first = events[0]
    if not isinstance(first, Started):
        raise other_version(f"it begins with {first.kind}")
    state = State(first.settings, first.idea, first.commit, first.seeds, hashes=folder_hashes(events))
    for event in events[1:]:
        try:
            apply(event, state)
        except LookupError as error:
            raise other_version(f"{event.kind}: {error}") from error
        if not isinstance(event, _WITHIN_STEPS):
            state.jobs = {}
    return state


def folder_hashes(events: Iterable[Event]) -> dict[str, dict[str, str]]:
    """The hashes that hold, by file, by folder: baselines that were made again replace those before.

    Args:
        events: Those of a ledger; some may be missing.
    """
    found: dict[str, dict[str, str]] = {}
    for event in events:
        if isinstance(event, BaselinesMade):
            found = {name: files for name, files in found.items() if not name.startswith("run_0/")}
        elif isinstance(event, Sealed):
            found[event.folder] = event.files
    return found


@singledispatch
def apply(event: Event, state: State) -> None:
    """Change the state as an event tells; there is a function for every class of event.

    Args:
        event: What happened.
        state: As it was before.
    """
    raise LookupError("nothing is known of it here")


@apply.register
def _settings(event: SettingsChanged, state: State) -> None:
    state.settings = event.settings


@apply.register
def _seeds_drawn(event: SeedsDrawn, state: State) -> None:
    state.commitment, state.revealed = event.seeds, ""


@apply.register
def _seeds_revealed(event: SeedsRevealed, state: State) -> None:
    state.revealed = event.secret


@apply.register
def _baseline_trained(event: BaselineTrained, state: State) -> None:
    state.making.setdefault(event.key, {})[event.seed] = event.files


@apply.register
def _baselines(event: BaselinesMade, state: State) -> None:
    state.baseline_sets.append(event)
    state.stale, state.changed = False, ()


@apply.register
def _stale(event: Stale, state: State) -> None:
    state.stale = not event.accepted
    state.changed = tuple(event.changes) if event.accepted else ()
    if state.open_run and state.open_run.last and state.stale:
        # Trained under the old conditions and not yet scored: it is trained again under the new ones.
        state.open_run.last.ran = None
    if state.confirmation and not state.confirmation.closed:
        state.confirmation = None


@apply.register
def _refused(event: Refused, state: State) -> None:
    refusal = Refusal(event.fault, event.feedback, event.held, event.reply, event.said)
    state.calls = event.call
    if event.run is None:
        state.plot_refusals.append(refusal)
        return
    run = _run(state, event.run)
    run.refusals.append(refusal)
    run.refused.append(refusal)


@apply.register
def _edited(event: Edited, state: State) -> None:
    state.calls = event.call
    run = _run(state, event.run)
    run.refusals = []
    # A campaign that was closed goes on: it has to be closed anew.
    state.confirmation, state.figures, state.plot_edited, state.completed = None, None, "", False
    run.attempts.append(
        Attempt(
            len(run.attempts) + 1,
            event.commit,
            event.parent,
            event.code,
            event.change,
            event.prediction,
            event.predictions,
            event.remarks,
        )
    )
    _analyse(state, event.run - 1, event.analysis)


@apply.register
def _smoked(event: Smoked, state: State) -> None:
    _last(state, event).smoke = event


@apply.register
def _failed(event: FailureEvent, state: State) -> None:
    _last(state, event).failure = event


@apply.register
def _ran(event: Ran, state: State) -> None:
    _last(state, event).ran = event


@apply.register
def _lost(event: Lost, state: State) -> None:
    _last(state, event).ran = None


@apply.register
def _scored(event: Scored, state: State) -> None:
    last = _last(state, event)
    last.score, last.baseline_set, last.changed = event, len(state.baseline_sets) - 1, state.changed


@apply.register
def _matched(event: Matched, state: State) -> None:
    _last(state, event).matched = event


@apply.register
def _seed_trained(event: SeedTrained, state: State) -> None:
    _last(state, event).repeats.append(event)


@apply.register
def _looked(event: Looked, state: State) -> None:
    _last(state, event).look = event


@apply.register
def _refereed(event: Refereed, state: State) -> None:
    _last(state, event).refereed = event
    state.referee_calls = event.call


@apply.register
def _confirming(event: Confirming, state: State) -> None:
    state.confirmation = Confirmation(event.run, event.against, event.seeds, event.reason)


@apply.register
def _confirm_trained(event: ConfirmTrained, state: State) -> None:
    _confirmation(state).trained[event.seed] = event


@apply.register
def _confirm_baseline(event: ConfirmBaseline, state: State) -> None:
    _confirmation(state).baseline = event.baseline


@apply.register
def _confirmed(event: Confirmed, state: State) -> None:
    _confirmation(state).result = event


@apply.register
def _given_up(event: GivenUp, state: State) -> None:
    _run(state, event.run).given_up = event.reason


@apply.register
def _ended(event: Ended, state: State) -> None:
    state.calls = event.call
    state.ended = event.reason
    if state.runs:
        _analyse(state, len(state.runs), event.analysis)
    if run := state.open_run:
        # Else the model would be asked about it again, for ever.
        run.given_up = event.reason


@apply.register
def _plot_edited(event: PlotEdited, state: State) -> None:
    state.calls = event.call
    state.plot_edited = state.plots = event.commit
    state.plot_refusals = []
    if event.analysis:
        state.closing, state.closing_set = event.analysis, len(state.baseline_sets) - 1


@apply.register
def _plot_failed(event: PlotFailed, state: State) -> None:
    state.plot_failures.append(event)
    state.plot_edited = ""


@apply.register
def _plotted(event: Plotted, state: State) -> None:
    state.figures = event.figures


@apply.register
def _completed(event: Completed, state: State) -> None:
    state.completed = True


@apply.register
def _submitted(event: Submitted, state: State) -> None:
    state.jobs[event.label] = event


@apply.register
def _requeued(event: Requeued, state: State) -> None:
    state.jobs.pop(event.label, None)


@apply.register(Sealed)  # see `folder_hashes`
@apply.register(Stopped)
@apply.register(Resumed)
@apply.register(SandboxChosen)
def _told(event: Event, state: State) -> None:
    """Nothing of the state changes."""


@apply.register
def _started(event: Started, state: State) -> None:
    raise LookupError("a campaign starts once")


def _run(state: State, number: int) -> Run:
    if len(state.runs) < number:
        state.runs.append(Run(number))
    return state.runs[number - 1]


def _last(state: State, event: RunEvent) -> Attempt:
    return state.runs[event.run - 1].attempts[-1]


def _confirmation(state: State) -> Confirmation:
    if state.confirmation is None:
        raise LookupError("no run was chosen")
    return state.confirmation


def _analyse(state: State, number: int, text: str) -> None:
    if text and 1 <= number <= len(state.runs):
        run = state.runs[number - 1]
        run.analysis = f"{run.analysis}\n\n{text}".strip()
