"""Starting campaigns as a user does, for the tests."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from agent.base.screen import Screen
from agent.campaign.campaign import Campaign
from agent.campaign.events import Started
from agent.campaign.ledger import Ledger
from agent.campaign.settings import Settings
from agent.campaign.workspace import Workspace
from agent.compute.executor import make_executor
from agent.idea import parse_idea
from agent.models.base import Reply, Request

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "profiles" / "tiny.toml"
QUICK = ROOT / "tests" / "profiles" / "quick.toml"
IDEA = "hierarchical_orthogonal_sae"


class Says:
    """A model that gives its replies in order."""

    name = "says"

    def __init__(self, *replies: str) -> None:
        self.replies = list(replies)
        self.asked: list[str] = []

    def ask(self, request: Request) -> Reply:
        self.asked.append(request.prompt)
        return Reply(self.replies.pop(0), call=len(self.asked))


def launch(
    *arguments: object, cwd: Path | None = None, module: str = "agent.launch", **kwargs: Any
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd or ROOT, capture_output=True, text=True, timeout=1700, check=False, **kwargs)


def strip_times(notes: str) -> str:
    """Notes without what differs between two campaigns that went the same way: seconds, and hashes of commits."""
    return re.sub(r"(training|scoring|after) \d+ s|git diff [0-9a-f]+ [0-9a-f]+", "", notes)


def opened(folder: Path) -> Campaign:
    return Campaign(Workspace(folder), Screen("quiet"), folder, make_executor("local"))


def a_campaign(folder: Path, **settings: Any) -> Campaign:
    """A campaign of the tests' profile that has just begun."""
    idea = dict.fromkeys(("Name", "Title", "Experiment", "Technical_Details", "Implementation_Plan"), "-")
    given = Settings(profile=str(TINY), model="none", **settings)
    return opened(Workspace.create(parse_idea({**idea, "Name": "test"}, "test"), given, folder).path)


def cut_after(done: Path, folder: Path, kind: str, **settings: Any) -> Campaign:
    """The campaign as it stood after its first event of a kind, with other settings."""
    shutil.copytree(done, folder)
    events = Ledger(folder / "ledger.jsonl").events
    (folder / "ledger.jsonl").write_text("")
    ledger = Ledger(folder / "ledger.jsonl")
    for event in events:
        if isinstance(event, Started):
            event = event.model_copy(update={"settings": event.settings.model_copy(update=settings)})
        ledger.append(event)
        if event.kind == kind:
            break
    return opened(folder)


def mounted(*arguments: object) -> bool:
    """Tell whether a mount worked: it needs root, and not every container lets it."""
    if os.geteuid() or not shutil.which("mount"):
        return False
    return subprocess.run(["mount", *map(str, arguments)], check=False, capture_output=True).returncode == 0
