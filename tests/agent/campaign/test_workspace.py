"""The workspace: made whole or not at all, locked, with a history of its own."""

import subprocess

import pytest

from agent.base.errors import AgentError
from agent.campaign.settings import Settings
from agent.campaign.workspace import Workspace
from agent.gates.canonical import code_key
from agent.idea import parse_idea

IDEA = parse_idea(
    {"Name": "an_idea", "Title": "T", "Experiment": "e", "Technical_Details": "d", "Implementation_Plan": "p"}, "here"
)
SETTINGS = Settings()


@pytest.fixture
def template(tmp_path):
    folder = tmp_path / "template"
    folder.mkdir()
    (folder / "experiment.py").write_text("x = 1\n")
    (folder / "plot.py").write_text("y = 1\n")
    (folder / "notes.txt").write_text("notes\n")
    (folder / "run_0").mkdir()
    (folder / "run_0" / "left.txt").write_text("from a run by hand")
    return folder


@pytest.fixture
def workspace(tmp_path, template):
    return Workspace.create(IDEA, SETTINGS, tmp_path / "runs", template)


def test_made_with_a_first_commit(workspace):
    assert workspace.path.name.endswith("_an_idea")
    log = subprocess.run(
        ["git", "-C", workspace.path, "log", "--format=%s"], capture_output=True, text=True, check=True
    )
    assert log.stdout.strip() == "Template and idea: T"
    assert not (workspace.path / "run_0").exists()
    assert workspace.ledger.events[0].commit == workspace.head


def test_two_in_one_second_get_two_folders(tmp_path, template):
    one, two = (Workspace.create(IDEA, SETTINGS, tmp_path / "runs", template).path for _ in range(2))
    assert one != two


def test_edits_are_committed_shown_and_put_back(workspace):
    first = workspace.head
    (workspace.path / "experiment.py").write_text("x = 2\n")
    second = workspace.commit("run_1: two")
    assert "+x = 2" in workspace.diff(first, second)
    workspace.restore(first)
    assert workspace.read("experiment.py") == "x = 1\n"
    assert workspace.at(second, "experiment.py") == "x = 2\n"


def test_no_change_makes_no_commit(workspace):
    assert workspace.commit("nothing") == workspace.head


def test_no_git_leaves_nothing(tmp_path, template, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(AgentError, match="git is not installed"):
        Workspace.create(IDEA, SETTINGS, tmp_path / "runs", template)
    assert not (tmp_path / "runs").exists()


def test_a_failure_on_the_way_leaves_nothing(tmp_path, template, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left")

    monkeypatch.setattr("agent.campaign.workspace._first_commit", fail)
    with pytest.raises(AgentError, match="No space left"):
        Workspace.create(IDEA, SETTINGS, tmp_path / "runs", template)
    assert list((tmp_path / "runs").iterdir()) == []


def test_one_launcher_at_a_time(workspace):
    with workspace.lock(), pytest.raises(AgentError, match="in use by process"), Workspace(workspace.path).lock():
        pass


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(AgentError, match=r"experiment\.py is missing"):
        Workspace(tmp_path)


@pytest.mark.parametrize(
    "same",
    ["def f(x):\n    return x+1\n", '"""Doc."""\n\ndef f(x):\n    """Says."""\n    # why\n    return (x + 1)\n'],
)
def test_comments_docstrings_and_layout_are_no_change(same):
    assert code_key(same) == code_key("def f(x):\n    return x + 1")


def test_a_constant_is_a_change():
    assert code_key("print(1)") != code_key("print(2)")
