"""`python -m agent.audit` as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agent.audit.__main__ import main
from agent.campaign.settings import Settings
from agent.campaign.workspace import Workspace
from agent.idea import load_idea
from bench.writeup.cases import Bench, unpack
from tests.agent.campaigns import TINY


def test_a_clean_text_exits_0_and_a_false_one_1(
    recorded: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = recorded.folder / "notes.txt"
    assert main([str(notes), "--run", str(recorded.folder)]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "unsupported": [], "claims": [], "missing_runs": [], "citations": [], "figures": [],
    }  # fmt: skip
    text = tmp_path / "said.txt"
    text.write_text("First.\n\nrun_2 reaches an explained variance of 0.7462 and improves absorption.\n")
    assert main([str(text), "--run", str(recorded.folder)]) == 1
    found = json.loads(capsys.readouterr().out)
    (number,) = found["unsupported"]
    assert number["line"] == 3
    assert "run_1" in number["reason"]
    assert number["suggestion"] == "{run_2:core.explained_variance}"
    assert "within noise" in found["claims"][0]["reason"]
    assert [item["text"] for item in found["missing_runs"]] == ["run_1", "run_3", "run_4", "run_5"]
    assert main([str(text), "--run", str(recorded.folder), "--part"]) == 1
    assert json.loads(capsys.readouterr().out)["missing_runs"] == []


def test_the_suggestion_in_a_paper_can_be_pasted(
    recorded: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paper = tmp_path / "paper.tex"
    paper.write_text("run 2 has \\res{run_2}{core.l0} latents. The explained variance of run 2 is 0.7379.\n")
    assert main([str(paper), "--run", str(recorded.folder), "--part"]) == 1
    (typed,) = json.loads(capsys.readouterr().out)["unsupported"]
    assert typed["suggestion"] == "\\res{run_2}{core.explained_variance}"
    paper.write_text(paper.read_text().replace("0.7379", typed["suggestion"]))
    assert main([str(paper), "--run", str(recorded.folder), "--part"]) == 0


def test_a_wrong_call_exits_2_with_one_line(tmp_path: Path) -> None:
    text = tmp_path / "a.md"
    text.write_text("Nothing.")
    for arguments in ([str(text), "--run", str(tmp_path)], [str(tmp_path / "b.md"), "--run", str(tmp_path)]):
        done = subprocess.run([sys.executable, "-m", "agent.audit", *arguments], capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1


def test_a_campaign_that_has_just_begun_bears_out_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    idea = load_idea("hierarchical_orthogonal_sae")
    settings = Settings(profile=str(TINY))
    folder = Workspace.create(idea, settings, tmp_path / "runs").path
    text = tmp_path / "a.md"
    text.write_text("run_1 improves explained variance to 0.9. See Section 2.\n")
    assert main([str(text), "--run", str(folder)]) == 1
    found = json.loads(capsys.readouterr().out)
    assert len(found["unsupported"]) == 1
    assert "there is no run_1" in found["claims"][0]["reason"]
    assert found["missing_runs"] == []


def test_damaged_results_are_one_line(recorded: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = unpack(tmp_path / "campaign")
    (folder / "run_2" / "results.json").write_text("{")
    text = tmp_path / "a.md"
    text.write_text("Nothing.\n")
    assert main([str(text), "--run", str(folder)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "run_2/results.json is damaged" in said.err
    assert said.err.count("\n") == 1
