"""Seeds nobody can know beforehand, and everybody can check afterwards."""

import stat
import subprocess

import pytest

from agent.base.errors import AgentError
from agent.campaign.events import Completed, Confirming, Edited, Scored, SeedsRevealed
from agent.campaign.seeds import SECRET, Seeds
from agent.steps.finish import finish
from agent.verify import verify
from tests.agent.campaigns import a_campaign
from tests.agent.events import an


def test_every_use_has_a_seed_of_its_own():
    drawn = Seeds("ab")
    found = [drawn.of_run(run, attempt) for run in (1, 2, 11) for attempt in (1, 2)]
    found += [drawn.of_confirmation(run, place) for run in (1, 2) for place in range(3)]
    assert len(set(found)) == 12
    assert all(0 <= seed < 10**9 for seed in found)
    assert Seeds("ab").of_run(1, 1) == drawn.of_run(1, 1) != Seeds("ac").of_run(1, 1)


def test_a_secret_is_committed_to_before_anything_runs_and_kept_from_git_and_others(tmp_path):
    campaign, other = a_campaign(tmp_path), a_campaign(tmp_path)
    home = campaign.workspace.path
    started, *more = campaign.events
    assert more == []
    assert started.seeds == campaign.seeds().commitment != other.seeds().commitment
    assert stat.S_IMODE((home / SECRET).stat().st_mode) == 0o600
    secret = (home / SECRET).read_text()
    told = subprocess.run(
        ["git", "-C", home, "ls-files", "--others", "--cached", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert SECRET not in told.stdout
    assert secret not in (home / "ledger.jsonl").read_text()


def test_a_secret_that_is_lost_or_changed_stops_the_campaign(tmp_path):
    campaign = a_campaign(tmp_path)
    path = campaign.workspace.path / SECRET
    path.write_text("another")
    with pytest.raises(AgentError, match=r"not what the ledger committed to; restore it"):
        campaign.seeds()
    path.unlink()
    with pytest.raises(AgentError, match=r"cannot read .*restore it from a copy"):
        campaign.seeds()


def a_run(campaign, number, seed):
    """A run that was edited and scored, with a seed in its record."""
    campaign.record(an(Edited, run=number))
    campaign.record(an(Scored, run=number))
    folder = campaign.workspace.run_dir(number)
    folder.mkdir()
    (folder / "training.json").write_text(f'{{"seed": {seed}}}')


def of_seeds(campaign):
    return [line for line in verify(campaign.workspace.path) if "secret" in line]


def test_the_end_reveals_the_secret_and_verify_checks_every_seed(tmp_path):
    campaign = a_campaign(tmp_path)
    drawn = campaign.seeds()
    a_run(campaign, 1, drawn.of_run(1, 1))
    a_run(campaign, 2, drawn.of_run(1, 1))
    seeds = [drawn.of_confirmation(1, place) for place in range(2)]
    campaign.record(an(Confirming, run=1, seeds=seeds))
    finish(campaign)
    assert [event.kind for event in campaign.events[-2:]] == ["seeds_revealed", "completed"]
    assert of_seeds(campaign) == ["run_2/training.json: its seed was not drawn from the secret"]


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([SeedsRevealed(secret="ab")], "line 2: the secret of the seeds is not the one whose hash was recorded before"),
        ([an(Completed)], "line 2: the secret of the seeds was not revealed"),
        ([an(Confirming, seeds=[3, 4])], "line 2: its seed was not drawn from the secret"),
    ],
)
def test_verify_names_what_was_not_drawn(tmp_path, events, said):
    campaign = a_campaign(tmp_path)
    for event in events:
        campaign.record(event)
    if not isinstance(events[0], Completed | SeedsRevealed):
        finish(campaign)
    assert of_seeds(campaign) == [f"ledger.jsonl, {said}"]


def test_a_campaign_that_goes_on_after_its_end_draws_anew(tmp_path):
    campaign = a_campaign(tmp_path)
    before = campaign.seeds()
    finish(campaign)
    after = campaign.seeds()
    assert after != before
    assert after == campaign.seeds(), "and only once"
    a_run(campaign, 1, after.of_run(1, 1))
    finish(campaign)
    assert of_seeds(campaign) == []
