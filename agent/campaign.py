"""What every step of a campaign works with: the workspace, the settings, who answers, and the screen."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.gates.canonical import code_key
from agent.idea import Idea, parse_idea
from agent.ledger import Event
from agent.models.base import Model, Reply, Request
from agent.report.results import Group, RunResult, Value, load_baselines, load_result
from agent.screen import Screen
from agent.settings import Settings
from agent.state import State, read_state
from agent.workspace import EXPERIMENT, Workspace

if TYPE_CHECKING:
    from lab.settings import Profile


@dataclass
class Campaign:
    """One idea under way.

    Args:
        workspace: Its folder.
        screen: What the user sees.
        root: The folder with the user's `.env`.
    """

    workspace: Workspace
    screen: Screen
    root: Path
    _results: dict[str, RunResult] = field(default_factory=dict)

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
    def model(self) -> Model:
        """Who answers; made at the first question, so that a campaign that asks nothing more needs no key."""
        from agent.models import make_model
        from agent.models.budget import Budget

        settings = self.settings
        return make_model(
            settings.model,
            transcript=self.workspace.path / "transcript.jsonl",
            budget=Budget(settings.budget_usd, settings.budget_tokens),
            start=self.state.calls,
            root=self.root,
        )

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
        self.screen.event(kind, data)
        return event

    def ask(self, system: str, prompt: str, purpose: str) -> Reply:
        """Ask the model one question; a question that the transcript has answered already costs nothing."""
        return self.model.ask(Request(system=system, prompt=prompt, purpose=purpose))

    @cached_property
    def baselines(self) -> dict[str, Group]:
        """The baselines, by architecture."""
        return load_baselines(self.workspace.run_dir(0))

    def result(self, number: int) -> RunResult:
        """The results of a scored run."""
        name = f"run_{number}"
        if name not in self._results:
            self._results[name] = load_result(self.workspace.run_dir(number), name)
        return self._results[name]

    def lookup(self, source: str, metric: str) -> Value | None:
        """The number that a reference `{source:metric}` stands for; None when there is none."""
        if source in self.baselines:
            return self.baselines[source].lookup(metric)
        scored = {f"run_{run.number}": run.number for run in self.state.scored}
        return self.result(scored[source]).lookup(metric) if source in scored else None
