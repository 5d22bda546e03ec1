"""A campaign whose runs get more seeds: a promising one, with its baselines, and one that stays at its first."""

import json
import shutil

import pytest
from git import Repo

from agent.audit import audit
from agent.audit.document import make_document
from agent.audit.evidence import gather
from agent.campaign.events import SettingsChanged
from agent.campaign.repeats import Looked, SeedTrained
from agent.campaign.seeds import read
from agent.campaign.state import next_step
from agent.results.sequential import level
from agent.steps.after_step import write_notes
from agent.steps.baselines import profile_recipe
from agent.steps.match import grow
from agent.steps.repeat import repeat
from agent.verify import verify
from tests.agent.campaigns import IDEA, QUICK, cut_after, launch, opened
from tests.agent.events import an
from tests.agent.steps.test_match import BETAS, METRIC, K, block, section

PREDICTED = "<prediction>\ncore.explained_variance up\n</prediction>\n\n"
ADAM = "    optimizer = torch.optim.Adam(sae.parameters(), lr=cfg.lr, {})"
SHORT, LONG = (ADAM.format(BETAS.format(betas)) for betas in ("(0.5, 0.99)", "(0.99, 0.9999)"))
REPLIES = [
    "<change>Fewer active latents, a shorter memory</change>\n"
    + PREDICTED
    + block(K.format("None"), K.format(24))
    + "\n"
    + block(ADAM.format(BETAS.format("(0.9, 0.999)")), SHORT),
    "<analysis>\nWith its seeds {run_1:core.explained_variance}, beside {topk_l0_24:core.explained_variance}.\n"
    "</analysis>\n<change>A longer memory</change>\n" + PREDICTED + block(SHORT, LONG),
    "<analysis>\nDone.\n</analysis>\n\nALL_COMPLETED\n",
    "<analysis>\nDone.\n</analysis>\n",
]
SEEDS = (0, 1, 2, 3)


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    """A profile whose baselines have four seeds; the three that they start with are those of other tests, and kept."""
    text = QUICK.read_text().replace("seeds = [0, 1, 2]", "seeds = [0, 1, 2, 3]\nstart = 3")
    path = tmp_path_factory.mktemp("profile") / QUICK.name
    path.write_text(text + "\n[goals]\nseeds = 6\n")
    return path


@pytest.fixture(scope="module")
def done(prepared, profile, tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    script = folder / "script.jsonl"
    script.write_text("".join(json.dumps({"reply": reply}) + "\n" for reply in REPLIES))
    arguments = ["--idea", IDEA, "--model", f"replay:{script}", "--profile", profile, "--confirm", 0]
    ended = launch(*arguments, "--runs", folder / "runs", "--quiet", module="tests.agent.seeded")
    assert ended.returncode == 0, ended.stderr
    return next((folder / "runs").iterdir())


def test_a_promising_run_gets_seeds_until_its_verdict_is_made(done):
    campaign = opened(done)
    run = campaign.state.runs[0]
    looks = [event for event in campaign.events if isinstance(event, Looked) and event.run == 1]
    assert [(look.seeds, look.wanted) for look in looks] == [(1, 3), (3, 3)]
    assert "standard errors, 1 or more" in looks[0].reason
    assert looks[1].reason == f"{METRIC} improved"
    assert campaign.settings.seeds == 6
    group = campaign.scored_seeds(run)
    assert [one.name for one in group.runs] == ["run_1", *(f"run_1_seed{seed}" for seed in drawn(campaign))]
    assert len({one.weights for one in group.runs}) == 3
    row = campaign.verdict(run).row(METRIC)
    assert row.verdict == looks[1].verdicts[METRIC] == "improved"
    assert row.value.n == 3
    assert row.level == level(3, 4, 6)


def drawn(campaign):
    secret = campaign.state.revealed
    assert secret
    seeds = read(campaign.workspace.path, campaign.state.commitment)
    assert seeds.secret == secret
    return [seeds.of_more(1, 1, place) for place in (0, 1)]


def test_its_baselines_get_all_their_seeds_and_others_do_not(done):
    campaign = opened(done)
    run = campaign.state.runs[0]
    assert run.last.matched.runs == [f"topk_l0_24_seed{seed}" for seed in SEEDS[:3]]
    assert run.last.look.match == ["topk_l0_24_seed3"]
    comparison = campaign.verdict(run)
    assert (comparison.baseline.name, len(comparison.baseline.runs)) == ("topk_l0_24", 4)
    assert [one.name for one in comparison.beside] == ["topk_l0_24"]
    assert len(campaign.baselines["topk"].runs) == 4
    assert profile_recipe(campaign, "relu").seeds == SEEDS[:3]
    assert profile_recipe(campaign, "topk").seeds == SEEDS


def test_what_was_trained_for_a_later_run_is_no_baseline_of_an_earlier_one(done, tmp_path):
    shutil.copytree(done, tmp_path / "ws")
    campaign = opened(tmp_path / "ws")
    first, second = campaign.state.runs
    second.last.look = second.last.look.model_copy(update={"match": ["topk_l0_24_seed3"]})
    first.last.look = first.last.look.model_copy(update={"match": []})
    assert len(campaign.valid_groups(first)["topk_l0_24"].runs) == 3
    assert len(campaign.valid_groups(second)["topk_l0_24"].runs) == 4
    assert campaign.lookup("topk_l0_24", METRIC, first).n == 3
    assert campaign.lookup("topk_l0_24", METRIC).n == 4


def test_each_look_is_a_commit_that_says_so(done):
    with Repo(done) as repo:
        subjects = [commit.summary for commit in repo.iter_commits()]
    for said in ("run_1: gets 3 seeds", "run_1: judged by 3 seeds", "run_2: judged by 1 seed"):
        assert f"Notes: {said}" in subjects


def test_a_run_without_a_gain_stays_at_one_seed(done):
    campaign = opened(done)
    run = campaign.state.runs[1]
    assert (run.last.look.seeds, run.last.look.wanted, run.last.repeats) == (1, 1, [])
    assert "standard errors, below 1" in run.last.look.reason
    assert campaign.verdict(run).row(METRIC).value.n == 1


def test_notes_say_how_many_seeds_a_verdict_has_and_why(done):
    campaign = opened(done)
    notes = (done / "notes.txt").read_text()
    first, second = (section(notes, f"Run {number}:") for number in (1, 2))
    assert f"- Seeds: 3; {METRIC} improved" in first
    assert "- Seeds: 1; its gain in core.explained_variance is " in second
    value = campaign.lookup("run_1", METRIC)
    assert (value.n, value.sd is not None) == (3, True)
    assert f"With its seeds {value} [run_1], beside" in first
    assert "these improved in the goal, core.explained_variance: run_1." in notes


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Each run was trained with one seed.", ["'one seed': runs have 1 to 3"]),
        ("Every run starts with one seed.", []),
        ("All runs have five seeds.", ["'five seeds': runs have 1 to 3"]),
        ("The run was trained with three seeds.", []),
    ],
)
def test_a_paper_cannot_say_that_all_runs_have_the_same_number_of_seeds(done, text, says):
    evidence = gather(opened(done))
    document = make_document(f"\\section{{Set-up}}\n{text}\n", "tex", done / "x.tex")
    found = audit(document, evidence, {}, whole=False)
    assert [item.reason for item in found.unsupported] == says


def test_the_folder_is_as_it_was_recorded_and_another_seed_is_noticed(done, tmp_path):
    assert verify(done) == []
    copy = tmp_path / "ws"
    shutil.copytree(done, copy)
    (seed, *_) = sorted(copy.glob("run_1_seeds_1/run_1_seed*"))
    record = json.loads((seed / "training.json").read_text())
    (seed / "training.json").write_text(json.dumps({**record, "seed": 7}))
    found = verify(copy)
    assert f"run_1_seeds_1/{seed.name}/training.json: its seed was not drawn from the secret" in found
    assert any(f"run_1_seeds_1/{seed.name}/training.json: changed" in line for line in found)


def test_a_campaign_that_was_stopped_between_seeds_trains_the_one_that_is_missing(done, tmp_path):
    campaign = cut_after(done, tmp_path / "ws", "seed_trained")
    whole = opened(done).state.runs[0].last
    step, run = next_step(campaign.state)
    assert (step, run.number, len(run.last.repeats)) == ("repeat", 1, 1)
    repeat(campaign, run)
    again = campaign.state.runs[0].last.repeats
    assert [one.seed for one in again] == [one.seed for one in whole.repeats]
    assert again[1].files["sae/weights.safetensors"] == whole.repeats[1].files["sae/weights.safetensors"]
    repeat(campaign, campaign.state.runs[0])
    assert campaign.state.runs[0].last.look == whole.look
    assert next_step(campaign.state)[0] == "propose"


def test_a_seed_that_fails_leaves_the_verdict_open_and_is_named(done, tmp_path):
    campaign = cut_after(done, tmp_path / "ws", "looked")
    run = campaign.state.runs[0]
    failed = an(SeedTrained, run=1, failure="exit code 1 after 1 s", kept="run_1_seed9")
    campaign.record(failed)
    repeat(campaign, campaign.state.runs[0])
    run = campaign.state.runs[0]
    assert (run.last.look.seeds, run.last.look.wanted) == (1, 1)
    assert run.last.look.reason == "its seed 2 failed: exit code 1 after 1 s"
    assert next_step(campaign.state)[0] == "propose"
    write_notes(campaign, commit=False)
    text = section((campaign.workspace.path / "notes.txt").read_text(), "Run 1:")
    assert "- Seeds: 1; its seed 2 failed: exit code 1 after 1 s" in text
    comparison = campaign.verdict(run)
    assert not campaign.improved(comparison)
    assert comparison.row(METRIC).verdict == run.last.look.verdicts[METRIC] == "not comparable"
    assert "further seeds" in str(comparison.confounds[-1])


def test_what_a_seed_left_must_be_as_it_was(done, tmp_path):
    folder = tmp_path / "ws"
    campaign = cut_after(done, folder, "looked")
    for event in opened(done).events:
        if isinstance(event, SeedTrained):
            campaign.record(event)
    seed = campaign.state.runs[0].last.repeats[1].kept
    (folder / "run_1_seeds_1" / seed / "training.json").write_text("{}")
    repeat(campaign, campaign.state.runs[0])
    assert f"is not there whole any more ({seed})" in campaign.state.runs[0].last.look.reason


def test_with_one_seed_asked_for_nobody_looks(done, tmp_path):
    campaign = cut_after(done, tmp_path / "ws", "matched")
    assert next_step(campaign.state)[0] == "repeat"
    campaign.record(SettingsChanged(settings=campaign.settings.model_copy(update={"seeds": 1})))
    assert next_step(campaign.state)[0] == "propose"


def test_a_baseline_that_has_all_its_seeds_is_not_trained_again(done):
    campaign = opened(done)
    run = campaign.state.runs[0]
    before = len(campaign.events)
    assert grow(campaign, run, campaign.verdict(run).beside) == []
    assert len(campaign.events) == before
