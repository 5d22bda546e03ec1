"""Where a campaign stands is a function of its ledger; what comes next is a function of that."""

import pytest

from agent.base.errors import AgentError
from agent.campaign.events import (
    BaselinesMade,
    Completed,
    ConfirmBaseline,
    Confirmed,
    Confirming,
    ConfirmTrained,
    Edited,
    Ended,
    Event,
    Failed,
    GivenUp,
    Lost,
    Matched,
    PlotEdited,
    Plotted,
    Ran,
    Refused,
    Scored,
    Sealed,
    SettingsChanged,
    Smoked,
    SmokeFailed,
    Stale,
    Started,
)
from agent.campaign.history import apply, read_state
from agent.campaign.ledger import KINDS
from agent.campaign.settings import Settings
from agent.campaign.state import exhausted, next_step
from tests.agent.events import an


def state_after(*events, **settings):
    return read_state([an(Started, settings=Settings(**settings)), *events])


BASELINES, SMOKED, RAN, SCORED = an(BaselinesMade), an(Smoked), an(Ran), an(Scored)
ONE_RUN = (an(Edited), RAN, SCORED)
NOTHING = an(Confirming, run=None, against="", seeds=[], reason="none improved")


def test_the_path_of_one_run():
    steps = []
    events = []
    for event in [
        BASELINES,
        an(Edited),
        SMOKED,
        RAN,
        SCORED,
        an(Ended, analysis="last words", call=2),
        an(Confirming, seeds=[3]),
        an(ConfirmTrained, seed=3),
        ConfirmBaseline(baseline="topk_fresh", key="k"),
        Confirmed(run=1, failure="", verdicts={"core.explained_variance": "improved"}),
        an(PlotEdited, analysis="closing", call=3),
        Plotted(figures={"a.png": "a"}),
        an(Completed),
    ]:
        steps.append(next_step(state_after(*events))[0])
        events.append(event)
    steps.append(next_step(state_after(*events))[0])
    confirming = ["confirm"] * 4
    closing = ["plot_edit", "plot", "finish", "done"]
    about_the_run = ["propose", "smoke", "train", "score"]
    assert steps == ["baselines", *about_the_run, "propose", *confirming, *closing]
    state = state_after(*events)
    assert (state.runs[0].analysis, state.closing, state.calls) == ("last words", "closing", 3)


@pytest.mark.parametrize(
    "before",
    [
        [an(Refused, fault="same")],
        [an(Edited), an(SmokeFailed)],
    ],
)
def test_a_model_that_ends_in_the_middle_of_a_run_is_not_asked_again(before):
    ended = an(Ended, reason="the model said ALL_COMPLETED")
    assert next_step(state_after(BASELINES, *before))[0] == "propose"
    state = state_after(BASELINES, *before, ended)
    assert next_step(state)[0] == "confirm"
    assert state.runs[0].given_up == "the model said ALL_COMPLETED"


def test_weights_that_were_lost_are_trained_again():
    done = (SMOKED, RAN)
    assert next_step(state_after(BASELINES, an(Edited), *done))[0] == "score"
    assert next_step(state_after(BASELINES, an(Edited), *done, Lost(run=1)))[0] == "train"


def test_a_failed_attempt_is_mended_on_its_own_code():
    state = state_after(BASELINES, an(Edited, commit="bad"), an(Failed))
    assert next_step(state) == ("propose", state.runs[0])
    assert state.base == "bad"


def test_what_its_smoke_run_stopped_is_mended_and_was_never_started():
    failed = an(SmokeFailed)
    state = state_after(BASELINES, an(Edited, commit="bad"), failed)
    assert next_step(state) == ("propose", state.runs[0])
    assert state.base == "bad"
    assert (state.runs[0].started, state.runs[0].smoke_failures) == (0, 1)
    state = state_after(BASELINES, an(Edited, commit="bad"), failed, an(Edited, commit="good", call=2))
    assert next_step(state) == ("smoke", state.runs[0])


def test_baselines_that_are_made_again_are_hashed_again():
    sealed = [Sealed(folder=name, files={"a": "b"}) for name in ("run_0/topk_seed0", "run_1")]
    assert set(state_after(BASELINES, *sealed).hashes) == {"run_0/topk_seed0", "run_1"}
    assert set(state_after(BASELINES, *sealed, BASELINES).hashes) == {"run_1"}


def test_after_giving_up_the_next_run_starts_from_the_last_code_that_worked():
    events = [
        BASELINES,
        an(Edited, commit="good"),
        RAN,
        SCORED,
        an(Edited, run=2, commit="bad"),
        an(Failed, run=2),
        an(GivenUp, run=2),
    ]
    state = state_after(*events)
    assert state.base == "good"
    assert [run.status for run in state.runs] == ["scored", "failed"]
    step, run = next_step(state)
    assert (step, run.number) == ("propose", 3)


def test_each_kind_of_refusal_has_its_own_budget():
    state = state_after(BASELINES, *[an(Refused, fault="format")] * 2, an(Refused, fault="lint"))
    assert exhausted(state.runs[0].refusals, state.settings) == ""
    state = state_after(BASELINES, *[an(Refused, fault="lint")] * 3)
    assert exhausted(state.runs[0].refusals, state.settings) == "lint"


def test_an_edit_that_is_taken_opens_the_budgets_anew():
    state = state_after(BASELINES, *[an(Refused, fault="lint")] * 2, an(Edited))
    assert state.runs[0].refusals == []
    assert len(state.runs[0].refused) == 2


def test_the_last_run_allowed_leads_to_the_plots():
    events = [BASELINES, *ONE_RUN]
    assert next_step(state_after(*events, max_runs=1))[0] == "confirm"
    assert next_step(state_after(*events, max_runs=1, confirm=0))[0] == "plot_edit"
    assert next_step(state_after(*events, max_runs=2))[0] == "propose"


def test_nothing_to_confirm_leads_to_the_plots():
    assert next_step(state_after(BASELINES, *ONE_RUN, NOTHING, max_runs=1))[0] == "plot_edit"


def test_a_run_at_another_l0_waits_for_its_baseline_before_the_next_is_proposed():
    waiting = [BASELINES, an(Edited), RAN, an(Scored, match=24)]
    step, run = next_step(state_after(*waiting))
    assert (step, run.number) == ("match", 1)
    assert next_step(state_after(*waiting, matched=False))[0] == "propose"
    assert next_step(state_after(*waiting, an(Matched, k=24)))[0] == "propose"


def test_stale_baselines_are_made_again_and_each_run_keeps_those_it_was_judged_by():
    stale = Stale(changes=["the device (cpu to cuda)"], accepted=False)
    trained = [BASELINES, *ONE_RUN, an(Edited, run=2), an(Smoked, run=2), an(Ran, run=2), stale]
    assert next_step(state_after(*trained))[0] == "baselines"
    step, run = next_step(state_after(*trained, BASELINES))
    assert (step, run.number) == ("train", 2), "what was trained under the old conditions is trained again"
    state = state_after(*trained, BASELINES, an(Ran, run=2), an(Scored, run=2))
    assert [run.last.baseline_set for run in state.runs] == [0, 1]
    assert [run.last.changed for run in state.runs] == [(), ()]


def test_stale_baselines_that_were_accepted_stand_beside_every_later_run():
    accepted = Stale(changes=["the template"], accepted=True)
    scored = [an(Edited, run=2), an(Ran, run=2), an(Scored, run=2)]
    state = state_after(BASELINES, *ONE_RUN, accepted, *scored)
    assert [(run.last.baseline_set, run.last.changed) for run in state.runs] == [(0, ()), (0, ("the template",))]


def test_a_campaign_that_is_closed_and_goes_on_is_closed_anew():
    closed = [an(PlotEdited), Plotted(figures={"a.png": "a"}), an(Completed)]
    events = [BASELINES, *ONE_RUN, NOTHING, *closed]
    assert next_step(state_after(*events, max_runs=1))[0] == "done"
    more = [an(Edited, run=2), an(Ran, run=2), an(Scored, run=2)]
    assert next_step(state_after(*events, *more, max_runs=2))[0] == "confirm"


def test_settings_may_change_on_resume():
    assert state_after(SettingsChanged(settings=Settings(max_runs=7))).settings.max_runs == 7


@pytest.mark.parametrize(
    "events",
    [
        [],
        [BASELINES],
        [an(Started), an(Started)],
        [an(Started), an(Scored)],
        [an(Started), an(ConfirmTrained)],
    ],
)
def test_a_ledger_that_tells_something_else_is_one_line(events):
    with pytest.raises(AgentError, match="start the idea anew") as raised:
        read_state(events)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("event", KINDS.values())
def test_for_every_event_it_is_known_what_it_changes(event):
    assert apply.dispatch(event) is not apply.dispatch(Event)
