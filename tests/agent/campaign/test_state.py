"""Where a campaign stands is a function of its ledger; what comes next is a function of that."""

import pytest

from agent.base.errors import AgentError
from agent.campaign.history import read_state
from agent.campaign.ledger import Event
from agent.campaign.settings import Settings
from agent.campaign.state import exhausted, next_step

EDIT = {"commit": "c", "parent": "p", "code": "k", "change": "x", "prediction": "", "predictions": [], "analysis": ""}


def state_after(*kinds, **settings):
    first = {"idea": "i", "commit": "t", "settings": Settings(**settings).model_dump(mode="json")}
    data = [("started", first), *kinds]
    return read_state([Event(n, "", kind, fields) for n, (kind, fields) in enumerate(data)])


SMOKED = ("smoked", {"run": 1, "seconds": 1, "weights": ["a", "b"], "settings": {}, "later": []})
BASELINES = ("baselines", {"keys": {}, "runs": [], "conditions": {}})


def edited(run, call=1, **more):
    return ("edited", {**EDIT, "run": run, "call": call, **more})


ONE_RUN = (edited(1), ("ran", {"run": 1, "seconds": 1}), ("scored", {"run": 1, "seconds": 1}))


def test_the_path_of_one_run():
    steps = []
    events = []
    for event in [
        BASELINES,
        edited(1),
        SMOKED,
        ("ran", {"run": 1, "seconds": 1}),
        ("scored", {"run": 1, "seconds": 1}),
        ("ended", {"reason": "done", "analysis": "last words", "call": 2}),
        ("confirming", {"run": 1, "against": "topk", "seeds": [3], "reason": "best"}),
        ("confirm_trained", {"seed": 3, "seconds": 1, "failure": "", "output": ""}),
        ("confirm_baseline", {"baseline": "topk_fresh", "key": "k"}),
        ("confirmed", {"run": 1, "failure": "", "verdicts": {}}),
        ("plot_edited", {"commit": "q", "analysis": "closing", "call": 3}),
        ("plotted", {"figures": {"a.png": "a"}}),
        ("completed", {}),
    ]:
        steps.append(next_step(state_after(*events))[0])
        events.append(event)
    steps.append(next_step(state_after(*events))[0])
    confirming = ["confirm"] * 4
    closing = ["plot_edit", "plot", "finish", "done"]
    about_the_run = ["propose", "smoke", "execute", "score"]
    assert steps == ["baselines", *about_the_run, "propose", *confirming, *closing]
    state = state_after(*events)
    assert (state.runs[0].analysis, state.closing, state.calls) == ("last words", "closing", 3)


@pytest.mark.parametrize(
    "before",
    [
        [("refused", {"run": 1, "kind": "same", "feedback": "", "held": [], "reply": "", "said": {}, "call": 1})],
        [edited(1), ("smoke_failed", {"run": 1, "attempt": 1, "reason": "r", "output": "", "seconds": 1})],
    ],
)
def test_a_model_that_ends_in_the_middle_of_a_run_is_not_asked_again(before):
    ended = ("ended", {"reason": "the model said ALL_COMPLETED", "analysis": "", "call": 2})
    assert next_step(state_after(BASELINES, *before))[0] == "propose"
    state = state_after(BASELINES, *before, ended)
    assert next_step(state)[0] == "confirm"
    assert state.runs[0].given_up == "the model said ALL_COMPLETED"


def test_weights_that_were_lost_are_trained_again():
    done = (("smoked", {"run": 1}), ("ran", {"run": 1}))
    assert next_step(state_after(BASELINES, edited(1), *done))[0] == "score"
    assert next_step(state_after(BASELINES, edited(1), *done, ("lost", {"run": 1})))[0] == "execute"


def test_a_failed_attempt_is_mended_on_its_own_code():
    state = state_after(BASELINES, edited(1, commit="bad"), ("failed", {"run": 1, "attempt": 1}))
    assert next_step(state) == ("propose", state.runs[0])
    assert state.base == "bad"


def test_what_its_smoke_run_stopped_is_mended_and_was_never_started():
    failed = ("smoke_failed", {"run": 1, "attempt": 1, "reason": "r", "output": "o", "kept": "k"})
    state = state_after(BASELINES, edited(1, commit="bad"), failed)
    assert next_step(state) == ("propose", state.runs[0])
    assert state.base == "bad"
    assert (state.runs[0].started, state.runs[0].smoke_failures) == (0, 1)
    state = state_after(BASELINES, edited(1, commit="bad"), failed, edited(1, commit="good", call=2))
    assert next_step(state) == ("smoke", state.runs[0])


def test_baselines_that_are_made_again_are_hashed_again():
    sealed = [("sealed", {"folder": name, "files": {"a": "b"}}) for name in ("run_0/topk_seed0", "run_1")]
    assert set(state_after(BASELINES, *sealed).sealed) == {"run_0/topk_seed0", "run_1"}
    assert set(state_after(BASELINES, *sealed, BASELINES).sealed) == {"run_1"}


def test_after_giving_up_the_next_run_starts_from_the_last_code_that_worked():
    events = [
        BASELINES,
        edited(1, commit="good"),
        ("ran", {"run": 1, "seconds": 1}),
        ("scored", {"run": 1, "seconds": 1}),
        edited(2, commit="bad"),
        ("failed", {"run": 2, "attempt": 1}),
        ("given_up", {"run": 2, "reason": "failed"}),
    ]
    state = state_after(*events)
    assert state.base == "good"
    assert [run.status for run in state.runs] == ["scored", "failed"]
    step, run = next_step(state)
    assert (step, run.number) == ("propose", 3)


def refused(run, kind, call=1):
    return ("refused", {"run": run, "kind": kind, "feedback": "f", "held": [], "reply": "", "said": {}, "call": call})


def test_each_kind_of_refusal_has_its_own_budget():
    state = state_after(BASELINES, refused(1, "format"), refused(1, "format"), refused(1, "lint"))
    assert exhausted(state.runs[0].refusals, state.settings) == ""
    state = state_after(BASELINES, *[refused(1, "lint")] * 3)
    assert exhausted(state.runs[0].refusals, state.settings) == "lint"


def test_an_edit_that_is_taken_opens_the_budgets_anew():
    state = state_after(BASELINES, refused(1, "lint"), refused(1, "lint"), edited(1))
    assert state.runs[0].refusals == []
    assert len(state.runs[0].refused) == 2


def test_the_last_run_allowed_leads_to_the_plots():
    events = [BASELINES, edited(1), ("ran", {"run": 1, "seconds": 1}), ("scored", {"run": 1, "seconds": 1})]
    assert next_step(state_after(*events, max_runs=1))[0] == "confirm"
    assert next_step(state_after(*events, max_runs=1, confirm=0))[0] == "plot_edit"
    assert next_step(state_after(*events, max_runs=2))[0] == "propose"


def test_nothing_to_confirm_leads_to_the_plots():
    nothing = ("confirming", {"run": None, "against": "", "seeds": [], "reason": "none improved"})
    assert next_step(state_after(BASELINES, *ONE_RUN, nothing, max_runs=1))[0] == "plot_edit"


def test_a_run_at_another_l0_waits_for_its_baseline_before_the_next_is_proposed():
    waiting = [BASELINES, edited(1), ("ran", {"run": 1, "seconds": 1}), ("scored", {"run": 1, "match": 24})]
    step, run = next_step(state_after(*waiting))
    assert (step, run.number) == ("match", 1)
    assert next_step(state_after(*waiting, matched=False))[0] == "propose"
    assert next_step(state_after(*waiting, ("matched", {"run": 1, "k": 24})))[0] == "propose"


def test_stale_baselines_are_made_again_and_each_run_keeps_those_it_was_judged_by():
    stale = ("stale", {"changes": ["the device (cpu to cuda)"], "accepted": False})
    smoked = ("smoked", {**SMOKED[1], "run": 2})
    trained = [BASELINES, *ONE_RUN, edited(2), smoked, ("ran", {"run": 2, "seconds": 1}), stale]
    assert next_step(state_after(*trained))[0] == "baselines"
    step, run = next_step(state_after(*trained, BASELINES))
    assert (step, run.number) == ("execute", 2), "what was trained under the old conditions is trained again"
    state = state_after(*trained, BASELINES, ("ran", {"run": 2, "seconds": 1}), ("scored", {"run": 2, "seconds": 1}))
    assert [run.last.era for run in state.runs] == [0, 1]
    assert [run.last.changed for run in state.runs] == [(), ()]


def test_stale_baselines_that_were_accepted_stand_beside_every_later_run():
    accepted = ("stale", {"changes": ["the template"], "accepted": True})
    scored = [edited(2), ("ran", {"run": 2, "seconds": 1}), ("scored", {"run": 2, "seconds": 1})]
    state = state_after(BASELINES, *ONE_RUN, accepted, *scored)
    assert [(run.last.era, run.last.changed) for run in state.runs] == [(0, ()), (0, ("the template",))]


def test_a_campaign_that_is_closed_and_goes_on_is_closed_anew():
    closed = [
        ("plot_edited", {"commit": "q", "analysis": "", "call": 3}),
        ("plotted", {"figures": {}}),
        ("completed", {}),
    ]
    nothing = ("confirming", {"run": None, "against": "", "seeds": [], "reason": "none improved"})
    events = [BASELINES, *ONE_RUN, nothing, *closed]
    assert next_step(state_after(*events, max_runs=1))[0] == "done"
    more = [edited(2), ("ran", {"run": 2, "seconds": 1}), ("scored", {"run": 2, "seconds": 1})]
    assert next_step(state_after(*events, *more, max_runs=2))[0] == "confirm"


def test_settings_may_change_on_resume():
    changed = Settings(max_runs=7).model_dump(mode="json")
    assert state_after(("settings", {"settings": changed})).settings.max_runs == 7


@pytest.mark.parametrize(
    "events",
    [
        [],
        [Event(0, "", "started", {"idea": "i", "commit": "t", "settings": {"unheard_of": 1}})],
        [Event(0, "", "started", {"idea": "i", "commit": "t", "settings": {}}), Event(1, "", "unheard_of", {})],
        [
            Event(0, "", "started", {"idea": "i", "commit": "t", "settings": {}}),
            Event(1, "", "baselines", {"keys": {}}),
        ],
    ],
)
def test_a_ledger_of_another_version_is_one_line(events):
    with pytest.raises(AgentError, match="start the idea anew") as raised:
        read_state(events)
    assert "\n" not in str(raised.value)
