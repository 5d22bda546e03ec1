"""A campaign under way: its record, and the hands that act: workspace, screen, model, executor."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from agent.base.screen import Screen
from agent.campaign.events import SeedsDrawn
from agent.campaign.ledger import AnyEvent
from agent.campaign.record import REFEREE, TRANSCRIPT, Record
from agent.campaign.seeds import Seeds, draw, read
from agent.campaign.settings import Settings
from agent.campaign.workspace import Workspace
from agent.models.base import Model, Reply, Request

if TYPE_CHECKING:
    from agent.compute.executor import Executor
    from agent.compute.sandbox import Sandbox
    from agent.models import Budget


@dataclass
class Campaign(Record):
    """One idea under way.

    Args:
        folder: Its folder, which its steps change.
        screen: What the user sees.
        root: The folder with the user's `.env`.
        executor: Where its jobs are run.
        budget: The budget, where campaigns of this process share one.
    """

    folder: Workspace
    screen: Screen
    root: Path
    executor: "Executor"
    budget: "Budget | None" = None

    @property
    def workspace(self) -> Workspace:
        """The folder, to be changed."""
        return self.folder

    @cached_property
    def sandbox(self) -> "Sandbox":
        """The sandbox that holds the code that the model writes.

        Raises:
            AgentError: This machine allows none.
        """
        from agent.compute.sandbox import choose_sandbox

        return choose_sandbox(self.settings.sandbox)

    @cached_property
    def model(self) -> Model:
        """Who answers; made at the first question, so that a campaign that asks nothing more needs no key."""
        return self._made(self.settings.model, TRANSCRIPT, self.state.calls)

    @cached_property
    def referee(self) -> Model:
        """Who reads what was changed; its calls have a transcript of their own and share the budget."""
        return self._made(self.settings.referee, REFEREE, self.state.referee_calls)

    def _made(self, spec: str, transcript: str, start: int) -> Model:
        from agent.models import make_model

        self.budget = self.budget or self.budget_with(self.settings)
        return make_model(
            spec,
            transcript=self.workspace.path / transcript,
            budget=self.budget,
            start=start,
            root=self.root,
            check=self.screen.check,
        )

    def budget_with(self, settings: Settings) -> "Budget":
        """The budget as settings have it, with what the campaigns that share it have spent so far."""
        from agent.models import Budget, BudgetLimits, Transcript

        path = self.workspace.path
        folders = {path, *(path.parent / name for name in settings.together)}
        transcripts = [Transcript(folder / name) for folder in sorted(folders) for name in (TRANSCRIPT, REFEREE)]
        return Budget(BudgetLimits(settings.budget_usd, settings.budget_tokens), transcripts)

    def record(self, event: AnyEvent) -> None:
        """Write an event to the ledger and tell the screen."""
        self.workspace.ledger.append(event)
        self.screen.event(event.kind, event.to_json())

    def seeds(self) -> Seeds | None:
        """The seeds of this campaign's runs, which no run can know; None where they are the profile's, as in 0.1.0.

        Raises:
            AgentError: The secret that they are drawn from is lost.
        """
        if not self.state.commitment:
            return None
        if self.state.revealed:
            self.record(SeedsDrawn(seeds=draw(self.workspace.path).commitment))
        return read(self.workspace.path, self.state.commitment)

    def waiting(self, what: str) -> Callable[[], None]:
        """Make a function to be called while another campaign makes something that both need; it says so once.

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
