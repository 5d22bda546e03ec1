"""The ledger read: what each kind of event changes in the state of a campaign."""

from typing import Any

from pydantic import ValidationError

from agent.base.errors import AgentError
from agent.campaign.confirmation import Confirmation
from agent.campaign.ledger import Event
from agent.campaign.settings import Settings
from agent.campaign.state import Attempt, Refusal, Run, State
from agent.results.predictions import Prediction


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
            if event.kind not in _WITHIN_STEPS:
                state.jobs = {}
    except (ValidationError, KeyError, TypeError) as error:
        what = " ".join(str(error).split())[:120]
        raise AgentError(f"the ledger is of another version of this program ({what}); start the idea anew") from error
    return state


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


def _on_lost(state: State, data: dict[str, Any]) -> None:
    _last(state, data).ran = None


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
    if run := state.open_run:
        # Else the model would be asked about it again, for ever.
        run.given_up = data["reason"]


def _on_plot_edited(state: State, data: dict[str, Any]) -> None:
    state.calls = data["call"]
    state.plot_edited = state.plots = data["commit"]
    state.plot_refusals = []
    if data["analysis"]:
        state.closing, state.closing_set = data["analysis"], len(state.eras) - 1


def _on_plot_failed(state: State, data: dict[str, Any]) -> None:
    state.plot_failures.append(data)
    state.plot_edited = ""


def _on_plotted(state: State, data: dict[str, Any]) -> None:
    state.figures = data


def _on_completed(state: State, data: dict[str, Any]) -> None:
    state.completed = True


def _on_sealed(state: State, data: dict[str, Any]) -> None:
    state.sealed[data["folder"]] = data["files"]


def _on_submitted(state: State, data: dict[str, Any]) -> None:
    state.jobs[data["label"]] = data


def _on_requeued(state: State, data: dict[str, Any]) -> None:
    state.jobs.pop(data["label"], None)


def _ignored(state: State, data: dict[str, Any]) -> None:
    """Events that tell of a campaign and change nothing in it."""


def _analyse(state: State, number: int, text: str) -> None:
    if text and 1 <= number <= len(state.runs):
        run = state.runs[number - 1]
        run.analysis = f"{run.analysis}\n\n{text}".strip()


# Events after which a step may still be under way, and with it the jobs that were submitted for it.
_WITHIN_STEPS = ("submitted", "requeued", "sealed", "settings", "stopped", "resumed", "sandbox", "note")

_APPLY = {
    "settings": _on_settings,
    "baseline_trained": _on_baseline_trained,
    "baselines": _on_baselines,
    "refused": _on_refused,
    "edited": _on_edited,
    "smoked": _on_smoked,
    "smoke_failed": _on_smoke_failed,
    "ran": _on_ran,
    "lost": _on_lost,
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
    "submitted": _on_submitted,
    "requeued": _on_requeued,
    "stopped": _ignored,
    "resumed": _ignored,
    "sandbox": _ignored,
    "note": _ignored,
}
