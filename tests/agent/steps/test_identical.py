"""A campaign whose edit changes nothing of the SAE, which only a whole run can tell."""

import json

import pytest

from agent.campaign.events import Failed, Scored
from tests.agent.campaigns import IDEA, QUICK, launch, opened
from tests.agent.steps.test_match import block

EVERY, CLIP = "    log_every: int = {}", "    clip_norm: float = {}"
SAID = "<prediction>\ncore.explained_variance up\n</prediction>\n\n"
REPLIES = [
    "<change>Fewer lines in the log</change>\n" + SAID + block(EVERY.format(10), EVERY.format(7)),
    "<change>A tight clip</change>\n" + SAID + block(CLIP.format("1.0"), CLIP.format("0.01")),
    "<analysis>\nDone.\n</analysis>\n\nALL_COMPLETED\n",
    "<analysis>\nDone.\n</analysis>\n",
]


@pytest.fixture(scope="module")
def done(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("identical")
    script = folder / "script.jsonl"
    script.write_text("".join(json.dumps({"reply": reply}) + "\n" for reply in REPLIES))
    arguments = ["--idea", IDEA, "--model", f"replay:{script}", "--profile", QUICK, "--no-matched", "--confirm", "0"]
    ended = launch(*arguments, "--runs", folder / "runs", "--quiet", module="tests.agent.seeded")
    assert ended.returncode == 0, ended.stderr
    return opened(next((folder / "runs").iterdir()))


def test_identical_weights_are_told_and_take_no_run(done):
    (failed,) = [event for event in done.events if isinstance(event, Failed)]
    assert failed.reason == "identical weights: no effect, with its seed the SAE is that of the template"
    assert [event.run for event in done.events if isinstance(event, Scored)] == [1]
    run = done.state.runs[0]
    assert [attempt.change for attempt in run.attempts] == ["Fewer lines in the log", "A tight clip"]
    notes = (done.folder.path / "notes.txt").read_text()
    assert "attempt 1 (Fewer lines in the log) failed: identical weights" in " ".join(notes.split())
    assert not (done.folder.path / "run_1_like").exists()
