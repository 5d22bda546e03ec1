"""A campaign that is changed afterwards: each change is named, nothing is written, the rest is still read."""

import json
import shutil
import subprocess
import sys

import pytest

from agent.base.errors import AgentError
from agent.base.files import sha256
from agent.campaign.hashes import hashes
from agent.verify import main, read_records, verify
from tests.agent.campaigns import ROOT


@pytest.fixture
def copy(campaign, tmp_path):
    folder = tmp_path / "campaign"
    shutil.copytree(campaign[0], folder)
    return folder


def edit_json(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def git(folder, *arguments):
    subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True)


def test_an_untouched_campaign_is_clean(campaign):
    assert verify(campaign[0]) == []


def test_the_ledger_holds_a_hash_of_every_scored_folder(campaign):
    records = read_records(campaign[0] / "ledger.jsonl")
    folders = {path.parent for path in campaign[0].glob("run_*/**/results.json")}
    assert {campaign[0] / name for name in records.hashes} == folders
    assert records.hashes["run_1"] == hashes(campaign[0] / "run_1")


def better(results):
    results["entries"]["core"]["metrics"]["explained_variance"]["value"] = 0.999


def forge(folder, line, change):
    """Change a line of the ledger and redo the chain after it, as somebody careful would."""
    path = folder / "ledger.jsonl"
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    change(lines[line]["data"])
    previous, made = "0" * 64, []
    for fields in lines:
        made.append(json.dumps({**fields, "previous": previous}, ensure_ascii=False))
        previous = sha256(made[-1])
    path.write_text("\n".join(made) + "\n")


def rewrite_history(folder):
    git(folder, "commit", "--quiet", "--amend", "--allow-empty", "-m", "Notes: figures, better")
    git(folder, "reset", "--quiet", "--hard", "HEAD~3")


def swap_weights(folder):
    shutil.rmtree(folder / "run_1" / "sae")
    shutil.copytree(folder / "run_2" / "sae", folder / "run_1" / "sae")


CHANGES = {
    "a better score": (lambda f: edit_json(f / "run_1" / "results.json", better), "run_1/results.json: changed after"),
    "a lost file": (lambda f: (f / "run_2" / "training.json").unlink(), "run_2/training.json: missing"),
    "a lost run": (lambda f: shutil.rmtree(f / "run_3"), "run_3: the folder is missing"),
    "a file more": (lambda f: (f / "run_1" / "extra.txt").write_text("x"), "run_1/extra.txt: was not there"),
    "a baseline": (
        lambda f: edit_json(f / "run_0" / "topk_seed0" / "results.json", better),
        "run_0/topk_seed0/results",
    ),
    "other weights": (swap_weights, "run_1/results.json: not of the weights beside it"),
    "a lost line": (
        lambda f: (f / "ledger.jsonl").write_text(
            "".join(line for n, line in enumerate((f / "ledger.jsonl").open()) if n != 4)
        ),
        "line 5: out of its chain",
    ),
    "a damaged line": (
        lambda f: (f / "ledger.jsonl").write_text((f / "ledger.jsonl").read_text().replace("\n{", "\n{{", 1)),
        "line 2: damaged",
    ),
    "a ledger redone": (lambda f: forge(f, 2, lambda data: data.update(made="up")), "not what commit"),
    "a field made up": (lambda f: forge(f, 2, lambda data: data.update(made="up")), "line 3: no event as this version"),
    "a ledger cut short": (
        lambda f: (f / "ledger.jsonl").write_text("".join((f / "ledger.jsonl").open().readlines()[:8])),
        "lines are gone that commit",
    ),
    "an edited script": (lambda f: (f / "experiment.py").write_text("x = 1\n"), "experiment.py: differs"),
    "history rewritten": (rewrite_history, "is not in the history of HEAD"),
    "history lost": (lambda f: shutil.rmtree(f / ".git"), "git: the history cannot be read"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_named_and_the_rest_is_read(copy, name):
    change, said = CHANGES[name]
    change(copy)
    before = hashes(copy)
    found = verify(copy)
    assert any(said in line for line in found), found
    assert len(found) < 40
    assert {path: digest for path, digest in hashes(copy).items() if not path.startswith(".git/")} == {
        path: digest for path, digest in before.items() if not path.startswith(".git/")
    }


def test_a_score_that_the_weights_do_not_give_shows_when_scored_again(copy):
    edit_json(copy / "run_1" / "results.json", better)
    for name in ("run_2", "run_3", "run_4", "run_5"):
        shutil.rmtree(copy / name / "sae", ignore_errors=True)
    for folder in (copy / "run_0").glob("*_seed*"):
        shutil.rmtree(folder / "sae")
    found = verify(copy, rescore=True)
    assert any("run_1: core.explained_variance says 0.999, the weights score" in line for line in found), found


def test_the_command_line(copy, capsys):
    command = [sys.executable, "-m", "agent.verify", str(copy)]
    clean = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (clean.returncode, clean.stdout) == (0, "all is as it was recorded\n")
    (copy / "run_1" / "log.txt").write_text("x")
    assert main([str(copy)]) == 1
    assert "run_1/log.txt: changed" in capsys.readouterr().out
    assert main([str(copy / "run_1")]) == 2
    assert "no ledger.jsonl" in capsys.readouterr().err


def test_a_folder_of_something_else_is_a_wrong_call(tmp_path):
    with pytest.raises(AgentError, match=r"no ledger\.jsonl"):
        verify(tmp_path)
