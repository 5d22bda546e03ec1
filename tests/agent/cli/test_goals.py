"""The goal and the guards of a campaign: the user's, else the idea's, else the profile's."""

import json
from pathlib import Path

import pytest

from agent.base.errors import AgentError
from agent.cli.begin import check
from agent.cli.options import make_parser
from agent.idea import load_idea
from lab.settings import PROFILE_FOLDER

EV, CE, ALIVE = "core.explained_variance", "core.delta_ce", "core.frac_alive"
IDEA = {"Name": "mine", "Title": "t", "Experiment": "e", "Technical_Details": "d", "Implementation_Plan": "p"}


@pytest.fixture
def asked(tmp_path):
    """The settings of a campaign on an idea, with options."""

    def make(*options, **more):
        (tmp_path / "mine.json").write_text(json.dumps({**IDEA, **more}))
        (tmp_path / "mine.script.jsonl").write_text(json.dumps({"reply": "ALL_COMPLETED"}) + "\n")
        given = ["--idea", "mine", "--ideas", str(tmp_path), "--model", "script", "--no-sandbox", *options]
        return check(make_parser().parse_args(given), "mine").settings

    return make


def test_without_more_it_is_the_profiles(asked):
    settings = asked()
    assert (settings.goal, settings.smallest[EV]) == (EV, 0.002)
    assert settings.guards == {CE: 0.04, ALIVE: 0.05}


def test_the_ideas_goal_comes_before_the_profiles_and_the_users_before_both(asked):
    idea = {"Goal": {"metric": CE, "smallest": 0.03}, "Guards": {ALIVE: None}}
    assert (asked(**idea).goal, asked(**idea).smallest[CE], asked(**idea).guards) == (CE, 0.03, {ALIVE: None})
    settings = asked("--goal", f"{ALIVE}:0.1", "--guard", f"{EV}:0.01", "--guard", CE, **idea)
    assert (settings.goal, settings.smallest[ALIVE], settings.guards) == (ALIVE, 0.1, {EV: 0.01, CE: None})
    assert asked("--guard", "none", **idea).guards == {}


def test_what_is_the_goal_guards_nothing_and_its_evaluation_is_switched_on(asked):
    settings = asked("--goal", CE)
    assert CE not in settings.guards
    assert settings.evals is None
    goal = "tpp.tpp_threshold_20_total_metric"
    assert asked("--goal", goal).evals == ("core", "absorption", "tpp")
    assert asked("--goal", goal, "--evals", "core").evals == ("core", "tpp")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--goal", "core.beauty"], "--goal core.beauty: no evaluation scores it"),
        (["--goal", "core.l0"], "--goal core.l0: no evaluation scores it with a direction"),
        (["--goal", "core.ce_loss_without_sae"], "no evaluation scores it with a direction"),
        (["--goal", f"{EV}:much"], "give a size above 0"),
        (["--goal", f"{EV}:0"], "give a size above 0"),
        (["--guard", f"{EV}:nan"], "give a size above 0"),
        (["--guard", "beauty.mean"], "evaluations are core"),
    ],
)
def test_a_wrong_goal_or_guard_is_one_line(asked, options, said):
    with pytest.raises(AgentError, match=said) as error:
        asked(*options)
    assert "\n" not in str(error.value)


def test_a_profiles_goal_that_nothing_scores_is_named_with_its_place(asked, tmp_path):
    profile = tmp_path / "own.toml"
    profile.write_text((PROFILE_FOLDER / "smollm2.toml").read_text().replace('goal = "core.', 'goal = "core.no_'))
    with pytest.raises(AgentError, match=r"own\.toml, goals: core\.no_explained_variance: no evaluation"):
        asked("--profile", str(profile))


@pytest.mark.parametrize("more", [{"Goal": "higher"}, {"Goal": {"metric": "core"}}, {"Guards": {EV: -1}}])
def test_a_wrong_goal_of_an_idea_names_the_field(tmp_path: Path, more):
    (tmp_path / "mine.json").write_text(json.dumps({**IDEA, **more}))
    with pytest.raises(AgentError, match=next(iter(more))):
        load_idea("mine", tmp_path)


def test_an_ideas_goal_that_nothing_scores_is_named_with_its_place(asked):
    with pytest.raises(AgentError, match=r"mine\.json, Goal core\.beauty: no evaluation"):
        asked(Goal={"metric": "core.beauty"})
