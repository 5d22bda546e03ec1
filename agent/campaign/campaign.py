"""What every step of a campaign works with: the workspace, the settings, who answers, and the screen."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.base.screen import Screen
from agent.campaign.history import read_state
from agent.campaign.ledger import Event
from agent.campaign.settings import Settings
from agent.campaign.state import Attempt, State
from agent.campaign.workspace import EXPERIMENT, Workspace
from agent.gates.canonical import code_key
from agent.idea import Idea, parse_idea
from agent.models.base import Model, Reply, Request
from agent.results.read import Group, RunResult, Value, load_groups, load_result

if TYPE_CHECKING:
    from agent.compute.executor import Executor
    from agent.compute.sandbox import Sandbox
    from agent.models import Purse
    from lab.settings import Profile

TRANSCRIPT = "transcript.jsonl"


@dataclass
class Campaign:
    """One idea under way.

    Args:
        workspace: Its folder.
        screen: What the user sees.
        root: The folder with the user's `.env`.
        purse: The budget, where campaigns of this process share one.
    """

    workspace: Workspace
    screen: Screen
    root: Path
    purse: "Purse | None" = None
    _results: dict[str, RunResult] = field(default_factory=dict)
    _groups: dict[Path, dict[str, Group]] = field(default_factory=dict)

    @property
    def state(self) -> State:
        """Where the campaign stands, computed from the ledger."""
        return read_state(self.workspace.ledger.events)

    @cached_property
    def settings(self) -> Settings:
        """The campaign's settings."""
        return self.state.settings

    @cached_property
    def idea(self) -> Idea:
        """The idea, as it was when the campaign began."""
        return parse_idea(json.loads(self.workspace.read("idea.json")), str(self.workspace.path / "idea.json"))

    @cached_property
    def profile(self) -> "Profile":
        """The lab's settings."""
        from lab.settings import load_profile

        return load_profile(self.settings.profile)

    @cached_property
    def sandbox(self) -> "Sandbox":
        """What holds the code that the model writes.

        Raises:
            AgentError: This machine allows none.
        """
        from agent.compute.sandbox import choose_sandbox

        return choose_sandbox(self.settings.sandbox)

    @cached_property
    def executor(self) -> "Executor":
        """Where what it runs is run."""
        from agent.compute.executor import executor_of

        return executor_of(self.settings)

    @cached_property
    def model(self) -> Model:
        """Who answers; made at the first question, so that a campaign that asks nothing more needs no key."""
        from agent.models import make_model

        return make_model(
            self.settings.model,
            transcript=self.workspace.path / TRANSCRIPT,
            purse=self.purse or self.purse_with(self.settings),
            start=self.state.calls,
            root=self.root,
            check=self.screen.check,
        )

    def purse_with(self, settings: Settings) -> "Purse":
        """The budget as settings have it, with what the campaigns that share it have spent so far."""
        from agent.models import Budget, Purse, Transcript

        path = self.workspace.path
        folders = {path, *(path.parent / name for name in settings.together)}
        transcripts = [Transcript(folder / TRANSCRIPT) for folder in sorted(folders)]
        return Purse(Budget(settings.budget_usd, settings.budget_tokens), transcripts)

    @cached_property
    def template_code(self) -> str:
        """The key of the code that every campaign starts from."""
        return self.code_key(self.workspace.at(self.state.template, EXPERIMENT))

    def code_key(self, source: str) -> str:
        """The key of an experiment's code, with what the lab gives it.

        Raises:
            SyntaxError: The source does not parse.
        """
        given = self.profile.model_dump(mode="json", include={"subject", "corpus", "activations", "training"})
        return code_key(source, {**given, "seed": self.profile.baselines.seeds[0], "device": self.settings.device})

    def record(self, kind: str, /, **data: Any) -> Event:
        """Write an event to the ledger and tell the screen."""
        event = self.workspace.ledger.append(kind, **data)
        if kind == "settings":
            self.__dict__.pop("settings", None)  # it is read anew
        self.screen.event(kind, data)
        return event

    def waiting(self, what: str) -> Callable[[], None]:
        """What to call again and again while another campaign makes something that both need; says so once.

        Args:
            what: What is made, in words.
        """
        told: list[str] = []

        def tick() -> None:
            if not told:
                told.append(what)
                self.screen.say(f"  {what}: another campaign is making it; waiting")
            self.screen.check()

        return tick

    def ask(self, system: str, prompt: str, purpose: str) -> Reply:
        """Ask the model one question; a question that the transcript has answered already costs nothing."""
        return self.model.ask(Request(system=system, prompt=prompt, purpose=purpose))

    @property
    def baselines(self) -> dict[str, Group]:
        """The profile's baselines of now, by architecture."""
        return self._load(self.baseline_dir())

    def groups(self, era: int | None = None) -> dict[str, Group]:
        """All baselines of an era, by name: the profile's, and those that match the L0 of a run.

        Args:
            era: Which set of baselines, from 0; the newest when None.
        """
        folder = self.baseline_dir(era)
        return {**self._load(folder), **self._load(folder / "matched")}

    def grid(self, era: int | None = None) -> dict[str, Group]:
        """The points of the lab's grid that there were when the baselines of an era were made."""
        return self._load(self.baseline_dir(era) / "grid")

    def fresh_groups(self) -> dict[str, Group]:
        """What a confirmation trained with fresh seeds: the run's group and its baseline's; empty where none did."""
        plan = self.state.confirmation
        if plan is None or plan.run is None:
            return {}
        return {**self._load(self.confirm_dir(plan.run)), **self._load(self.baseline_dir() / "fresh")}

    def baseline_dir(self, era: int | None = None) -> Path:
        """Where the baselines of an era lie; those that were made again have moved."""
        folder = self.workspace.run_dir(0)
        newest = len(self.state.eras) - 1
        return folder if era is None or era >= newest else folder / f"stale_{era + 1}"

    def confirm_dir(self, number: int) -> Path:
        """Where the confirmation of a run lies."""
        return self.workspace.path / f"run_{number}_confirm"

    def forget_baselines(self) -> None:
        """Read baselines from disk again at the next question: they have changed."""
        self._groups.clear()

    def _load(self, folder: Path) -> dict[str, Group]:
        if folder not in self._groups:
            found = load_groups(folder)
            if not found:
                return {}
            self._groups[folder] = found
        return self._groups[folder]

    def attempt(self, number: int) -> Attempt:
        """The attempt of a run that counts: its last."""
        last = self.state.runs[number - 1].last
        assert last is not None
        return last

    def result(self, number: int) -> RunResult:
        """The results of a scored run."""
        name = f"run_{number}"
        if name not in self._results:
            self._results[name] = load_result(self.workspace.run_dir(number), name)
        return self._results[name]

    def lookup(self, source: str, metric: str, era: int | None = None) -> Value | None:
        """The number that a reference `{source:metric}` stands for, a baseline's from an era; None without one."""
        groups = self.groups(era)
        plan = self.state.confirmation
        if source not in groups and plan and plan.scored:
            groups = self.fresh_groups()
        if source in groups:
            return groups[source].lookup(metric)
        scored = {f"run_{run.number}": run.number for run in self.state.scored}
        return self.result(scored[source]).lookup(metric) if source in scored else None
