"""An executor of one's own: a class, and a line in the table."""

import json
from pathlib import Path

import pytest

from agent.base.errors import AgentError
from agent.base.screen import Screen
from agent.campaign.ledger import read_event
from agent.campaign.workspace import Workspace
from agent.cli.begin import begin, check, reopen
from agent.cli.options import make_parser
from agent.cli.side_by_side import places
from agent.compute.executor import EXECUTORS, Kind, make_executor
from agent.compute.gpus import Gpus
from agent.compute.job import carry_out
from agent.compute.local_executor import Local
from agent.compute.settings import ExecutorSettings
from agent.steps.baselines import prepare
from tests.agent.campaigns import IDEA, TINY

SET_UP = "set-up: model, activations, evaluations"


class NotingSettings(ExecutorSettings):
    """The settings of the executor of this test."""

    file: Path = Path("noted")


class Noting:
    """Runs jobs here, and writes their labels to a file."""

    def __init__(self, settings: NotingSettings) -> None:
        self.settings = settings

    def check(self):
        if not self.settings.file.parent.is_dir():
            raise AgentError(f"{self.settings.file} is nowhere")

    def run(self, job, host, tick):
        host.say(f"[{job.label}] begins")
        job.clear()
        with self.settings.file.open("a") as file:
            file.write(f"{host.name} {job.label}\n")
        return carry_out(job, tick)

    def forget(self, host):
        pass

    def places(self, gpus):
        return None

    def threads(self):
        return ["noting"]


@pytest.fixture
def noting(monkeypatch):
    here = "tests.agent.compute.test_executor"
    monkeypatch.setitem(EXECUTORS, "noting", Kind(f"{here}:Noting", f"{here}:NotingSettings"))


@pytest.mark.usefixtures("prepared", "noting")
def test_a_class_and_a_line_in_the_table_carry_out_a_step_of_a_campaign(tmp_path, capsys):
    noted, file = tmp_path / "noted", tmp_path / "noting.toml"
    file.write_text(f"file = {str(noted)!r}\n")
    given = ["--idea", IDEA, "--model", "script", "--profile", str(TINY), "--runs", str(tmp_path)]
    arguments = make_parser().parse_args([*given, "--executor", "noting", "--noting", str(file)])
    (campaign,) = begin([check(arguments, IDEA)], tmp_path, [Screen()])
    assert prepare(campaign)["subject"]
    assert noted.read_text() == f"{IDEA} {SET_UP}\n"
    # What an executor says is text, not markup.
    assert f"[{SET_UP}] begins" in capsys.readouterr().out

    path = campaign.workspace.path
    begun = json.loads((path / "ledger.jsonl").read_text().splitlines()[0])["data"]["settings"]
    assert (begun["executor"], begun["noting"], begun["slurm"]) == ("noting", {"file": str(noted)}, None)
    again = reopen(Workspace(path), Screen("quiet"), make_parser().parse_args(["--resume", str(path)]))
    prepare(again)
    assert noted.read_text() == f"{IDEA} {SET_UP}\n" * 2
    assert places([(again.executor, 1), (Local(Gpus(["0", "1", "2", "3"], tmp_path)), 2)]) == 2
    assert places([(again.executor, 1)]) is None


@pytest.mark.usefixtures("noting")
def test_what_an_executor_lacks_is_told_before_anything_is_made(tmp_path):
    file = tmp_path / "noting.toml"
    given = ["--idea", IDEA, "--model", "script", "--profile", str(TINY), "--runs", str(tmp_path / "runs")]
    arguments = make_parser().parse_args([*given, "--executor", "noting", "--noting", str(file)])
    for text, said in (
        ("file = '/no/such/place/noted'", r"^/no/such/place/noted is nowhere$"),
        ("place = 'here'", r"noting.toml: there is no setting place; there are file$"),
        ("file = ", r"noting.toml is not TOML"),
    ):
        file.write_text(text)
        with pytest.raises(AgentError, match=said):
            check(arguments, IDEA)
    assert not (tmp_path / "runs").exists()


def test_an_executor_that_is_not_in_the_table_is_named_with_those_that_are(capsys):
    with pytest.raises(AgentError, match="there is no executor nowhere; there are local, slurm"):
        make_executor("nowhere")
    with pytest.raises(SystemExit):
        make_parser().parse_args(["--executor", "nowhere"])
    assert "invalid choice: 'nowhere'" in capsys.readouterr().err
    with pytest.raises(AgentError, match="executor Value error, there are local, slurm"):
        read_event("settings", {"settings": {"executor": "nowhere"}})
