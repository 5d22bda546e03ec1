"""The end of the demo: notes that the audit finds clean, and a paper with this machine's numbers."""

import json

from agent.audit.__main__ import main as audit
from agent.writeup.__main__ import main as write


def test_the_notes_of_a_campaign_are_clean(campaign, capsys):
    folder, _ = campaign
    code = audit([str(folder / "notes.txt"), "--run", str(folder)])
    assert (code, capsys.readouterr().out.count('"line"')) == (0, 0)


def test_the_scripted_paper_is_done(campaign, tmp_path, capsys):
    folder, _ = campaign
    code = write([str(folder), "--model", "script", "--writeups", str(tmp_path), "--no-compile"])
    assert code == 0, capsys.readouterr().out
    paper = tmp_path / folder.name
    numbers = json.loads((paper / "numbers.json").read_text())
    assert {source for number in numbers for source in number["sources"]} >= {
        "topk",
        "run_1",
        "run_2",
        "run_3",
        "run_5",
    }
    assert all(number["weights"] for number in numbers)
    assert json.loads((paper / "review.json").read_text())["decision"] in ("accept", "reject")
