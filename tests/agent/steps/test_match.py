"""A campaign whose runs leave the baseline's L0 and beat it: matched baseline, verdicts, confirmation, staleness."""

import json
import re
import shutil
from pathlib import Path

import pytest

from agent.base.errors import AgentError
from agent.campaign.events import ConfirmTrained, SettingsChanged
from agent.campaign.history import read_state
from agent.campaign.state import next_step
from agent.dialogue.prompt import plot_prompt, turn_prompt
from agent.report.notes import check_notes
from agent.results.compare import compare
from agent.steps.after_step import write_notes
from agent.steps.baseline_cache import KIND, copy_seeds, differences
from agent.steps.baselines import make_baselines, obtain, profile_recipe
from agent.steps.confirm import confirm
from agent.steps.freshness import check_freshness
from lab import cache
from tests.agent.campaigns import IDEA, QUICK, cut_after, launch, opened
from tests.agent.events import an

METRIC = "core.explained_variance"


def block(old, new):
    return f"experiment.py\n<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n"


K = "    k: int | None = {}  # TopK: active latents of each token"
BETAS = "betas={}, fused=True"
SAID = "<prediction>\ncore.explained_variance up\n</prediction>\n\n"
REPLIES = [
    "<change>More active latents</change>\n" + SAID + block(K.format("None"), K.format(24)),
    "<analysis>\nBeside TopK at its L0, {topk_l0_24:core.explained_variance}.\n</analysis>\n"
    "<change>Shorter memory of the optimiser, k as before</change>\n"
    + SAID
    + block(K.format(24), K.format("None"))
    + "\n"
    + block(
        f"    optimizer = torch.optim.Adam(sae.parameters(), lr=cfg.lr, {BETAS.format('(0.9, 0.999)')})",
        f"    optimizer = torch.optim.Adam(sae.parameters(), lr=cfg.lr, {BETAS.format('(0.5, 0.99)')})",
    ),
    "<analysis>\nDone.\n</analysis>\n\nALL_COMPLETED\n",
    "<analysis>\nChosen at {run_2:core.explained_variance}, confirmed at {run_2_confirm:core.explained_variance} "
    "beside {topk_fresh:core.explained_variance}.\n</analysis>\n",
]


@pytest.fixture(scope="module")
def done(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("matched")
    script = folder / "script.jsonl"
    script.write_text("".join(json.dumps({"reply": reply}) + "\n" for reply in REPLIES))
    arguments = ["--idea", IDEA, "--model", f"replay:{script}", "--profile", QUICK]
    ended = launch(*arguments, "--runs", folder / "runs", "--quiet", module="tests.agent.seeded")
    assert ended.returncode == 0, ended.stderr
    return next((folder / "runs").iterdir())


def section(notes, title):
    return re.split(r"^## ", notes.split(f"## {title}")[1], flags=re.MULTILINE)[0]


def test_a_run_at_another_l0_is_judged_against_topk_at_that_l0(done):
    campaign = opened(done)
    run = campaign.state.runs[0]
    assert run.last.score.match == 24
    assert run.last.matched.runs == [f"topk_l0_24_seed{seed}" for seed in (0, 1, 2)]
    assert set(run.last.score.verdicts.values()) == {"not comparable"}
    comparison = campaign.verdict(run)
    assert comparison.baseline.name == "topk_l0_24"
    # The run is this baseline's code with the same k and a seed of its own, so their scores differ by what seeds do.
    assert comparison.row(METRIC).verdict in ("no effect", "undecided")
    known = {group.seed: group.metrics[METRIC].value for group in comparison.baseline.runs}
    assert campaign.result(1).seed not in known
    assert comparison.row(METRIC).value.value == pytest.approx(comparison.baseline.lookup(METRIC).value, rel=0.05)
    assert comparison.row(METRIC).value.value not in known.values()
    notes = (done / "notes.txt").read_text()
    assert "Compared with: topk_l0_24 (seeds 0, 1, 2)" in section(notes, "Run 1:")
    assert f"- Goal {METRIC} (+): " in section(notes, "Run 1:")


def test_a_run_is_also_set_beside_the_best_before_it(done):
    campaign = opened(done)
    first, second = campaign.state.runs
    assert campaign.beside_earlier(first) is None
    found = campaign.beside_earlier(second)
    assert found.baseline.name == "run_1"
    assert not found.comparable, "the runs differ in L0"
    assert "change against run_1" in section((done / "notes.txt").read_text(), "Run 2:")


def test_the_best_run_is_confirmed_on_seeds_that_did_not_choose_it(done):
    campaign = opened(done)
    plan = campaign.state.confirmation
    assert (plan.run, plan.against, len(set(plan.seeds))) == (2, "topk", 3)
    assert not {0, 1, 2, *(campaign.result(run.number).seed for run in campaign.state.scored)} & set(plan.seeds)
    found = campaign.confirmed()
    assert sorted(plan.seeds) == sorted(run.seed for run in found.run.runs)
    assert [run.seed for run in found.run.runs] == [run.seed for run in found.baseline.runs]
    assert {run.architecture for run in (*found.run.runs, *found.baseline.runs)} == {"topk"}
    row = found.row(METRIC)
    assert (row.pairs, row.verdict) == (0, "improved"), "a seed does not do the same to both"
    weights = {run.weights for group in (*campaign.groups().values(), found.run, found.baseline) for run in group.runs}
    assert len(weights) == 3 + 3 + 3 + 3


def test_both_figures_stand_in_the_notes_and_in_the_question_for_the_plots(done):
    campaign = opened(done)
    chosen = campaign.result(2).metrics[METRIC]
    fresh = campaign.lookup("run_2_confirm", METRIC)
    notes = (done / "notes.txt").read_text()
    for text in (section(notes, "Confirmation"), plot_prompt(campaign)[1]):
        assert str(chosen) in text
        assert str(fresh) in text
        assert "core.explained_variance: confirmed; on fresh seeds it is improved" in text
    assert f"confirmed at {fresh} [run_2_confirm]" in notes
    assert "no such result" not in notes


def test_the_notes_say_what_chance_alone_would_give(done):
    count = opened(done).tally()
    assert count.made >= 2
    text = section((done / "notes.txt").read_text(), "End")
    assert f"{count.made} comparisons" in text
    assert f"about {count.expected:.1f} would" in text


def test_notes_that_lack_a_run_are_named(done, tmp_path):
    folder = tmp_path / "ws"
    shutil.copytree(done, folder)
    campaign = opened(folder)
    check_notes(campaign)
    notes = (folder / "notes.txt").read_text()
    lines = (("## Run 1: ", "run_1"), ("\nrun_2 ", "run_2 in the table"), ("## Confirmation", "the confirmation"))
    for lost, said in lines:
        (folder / "notes.txt").write_text(notes.replace(lost, "\nsome "))
        with pytest.raises(AgentError, match=said):
            check_notes(campaign)
    write_notes(campaign, commit=False)
    check_notes(campaign)


def test_a_campaign_whose_evaluator_changed_does_not_go_on_with_its_old_baselines(done, tmp_path):
    changed = tmp_path / "quick.toml"
    changed.write_text(QUICK.read_text().replace("sparsity_batches = 8", "sparsity_batches = 9"))
    campaign = cut_after(done, tmp_path / "ws", "matched", profile=str(changed))
    assert next_step(campaign.state)[0] == "propose"
    check_freshness(campaign)
    event = campaign.workspace.ledger.events[-1]
    assert event.kind == "stale"
    assert "the evaluator of core" in event.changes
    assert any("sparsity_batches (8 to 9)" in change for change in event.changes)
    assert next_step(campaign.state)[0] == "baselines"

    campaign = cut_after(done, tmp_path / "kept", "matched", profile=str(changed), stale_ok=True)
    check_freshness(campaign)
    assert next_step(campaign.state)[0] == "propose"
    assert "the evaluator of core" in campaign.state.changed
    check_freshness(campaign)
    assert [event.kind for event in campaign.workspace.ledger.events].count("stale") == 1
    anew = campaign.settings.model_copy(update={"stale_ok": False})
    campaign.record(SettingsChanged(settings=anew))
    campaign = opened(campaign.workspace.path)
    check_freshness(campaign)
    assert next_step(campaign.state)[0] == "baselines"


def test_a_confirmation_that_was_stopped_goes_on_where_it_was(done, tmp_path):
    stopped = cut_after(done, tmp_path / "trained", "confirm_trained")
    assert stopped.state.confirmation.missing == stopped.state.confirmation.seeds[1:]
    assert next_step(stopped.state)[0] == "confirm"

    campaign = cut_after(done, tmp_path / "baseline", "confirm_baseline")
    confirm(campaign)
    assert campaign.state.confirmation.result == opened(done).state.confirmation.result
    assert next_step(campaign.state)[0] == "plot_edit"


def test_a_seed_that_fails_is_not_left_out_of_the_confirmation(done, tmp_path):
    campaign = cut_after(done, tmp_path / "ws", "confirm_trained")
    seed = campaign.state.confirmation.missing[0]
    campaign.record(an(ConfirmTrained, seed=seed, failure="exit code 1 after 1 s"))
    confirm(campaign)
    assert campaign.state.confirmation.closed
    assert campaign.confirmed() is None
    write_notes(campaign, commit=False)
    check_notes(campaign)
    text = section((campaign.workspace.path / "notes.txt").read_text(), "Confirmation")
    assert f"seed {seed} failed: exit code 1 after 1 s. It is not confirmed." in text


def test_a_lost_copy_of_a_baseline_comes_back_from_the_cache(done, tmp_path):
    campaign = cut_after(done, tmp_path / "ws", "matched")
    lost = campaign.workspace.run_dir(0) / "topk_seed1"
    before = json.loads((lost / "results.json").read_text())
    shutil.rmtree(lost / "sae")
    (lost / "results.json").write_text("{")
    check_freshness(campaign)
    assert json.loads((lost / "results.json").read_text()) == before
    assert campaign.workspace.ledger.events[-1].kind == "matched"


def test_with_stale_ok_an_older_baseline_serves_and_a_damaged_one_is_set_aside(done, empty_cache, tmp_path):
    campaign = cut_after(done, tmp_path / "ws", "baselines", stale_ok=True)
    now = campaign.state.baselines.conditions
    older = {**now, "template": "of last week"}
    recipe = profile_recipe(campaign, "topk")

    def fill(folder):
        copy_seeds(done / "run_0", recipe, folder, "topk")

    kept = cache.entry(KIND, recipe.key(older), fill)
    assert obtain(campaign, now, recipe, "baseline topk") == (kept, older)
    assert differences(older, now) == ["the template's experiment.py"]

    fresh = cache.entry(KIND, recipe.key(now), fill)
    assert obtain(campaign, now, recipe, "baseline topk") == (fresh, now)
    (fresh / "topk_seed2" / "sae" / "encode.json").unlink()
    assert obtain(campaign, now, recipe, "baseline topk") == (kept, older)
    assert not fresh.exists()
    assert (fresh.with_name(f"{fresh.name}.damaged-1") / "topk_seed1" / "results.json").is_file()
    fresh = cache.entry(KIND, recipe.key(now), fill)
    (fresh / "key.json").unlink()
    assert obtain(campaign, now, recipe, "baseline topk") == (kept, older)


def test_when_baselines_are_made_again_the_older_ones_stay(done, tmp_path):
    """Real baselines of a changed evaluator; the run scored before keeps its verdict, the next has none against it."""
    changed = tmp_path / "quick.toml"
    text = QUICK.read_text().replace("sparsity_batches = 8", "sparsity_batches = 9")
    changed.write_text(text.replace("seeds = [0, 1, 2]", "seeds = [0]"))
    campaign = cut_after(done, tmp_path / "ws", "matched", profile=str(changed))
    before = campaign.verdict(campaign.state.runs[0])
    check_freshness(campaign)
    make_baselines(campaign)
    write_notes(campaign, commit=False)
    check_notes(campaign)
    assert next_step(campaign.state)[0] == "propose"
    home = campaign.workspace.run_dir(0)
    assert [path.name for path in home.glob("topk*")] == ["topk_seed0"]
    assert (home / "stale_1" / "matched" / "topk_l0_24_seed0").is_dir()
    assert campaign.verdict(campaign.state.runs[0]) == before
    assert "evaluator of core" in [
        item.what for item in compare(campaign.result(1), campaign.baselines["topk"]).confounds
    ]


def test_the_prompt_of_a_turn_names_the_baseline_that_was_trained_for_a_run(done, tmp_path):
    campaign = cut_after(done, tmp_path / "ws", "matched")
    state = read_state(campaign.workspace.ledger.events)
    system, prompt = turn_prompt(campaign, next_step(state)[1])
    assert "| topk_l0_24 |" in prompt
    assert "[against topk_l0_24]" in prompt
    assert "confirmed at the end on 3 fresh seeds" in system


def test_the_figures_of_the_campaign_are_there(done):
    listing = json.loads((done / "figures" / "figures.json").read_text())
    assert all((done / "figures" / Path(name).name).is_file() for name in listing)
