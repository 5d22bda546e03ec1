"""The progress of the confirmation of the best run, as the ledger tells it."""

from dataclasses import dataclass, field

from agent.campaign.events import Confirmed, ConfirmTrained


@dataclass
class Confirmation:
    """The best run, trained again with seeds that were not used to choose it, beside its baseline with the same seeds.

    Args:
        run: The run; None where there is nothing to confirm.
        against: What the baseline is called that the run was chosen against.
        seeds: The fresh seeds.
        reason: Why this run, or why none.
        trained: The event of each seed that was trained, or failed.
        baseline: What the fresh baseline is called; empty until it is made.
        result: The event that closed it.
    """

    run: int | None
    against: str
    seeds: list[int]
    reason: str
    trained: dict[int, ConfirmTrained] = field(default_factory=dict)
    baseline: str = ""
    result: Confirmed | None = None

    @property
    def missing(self) -> list[int]:
        """The seeds that are still to be trained."""
        return [seed for seed in self.seeds if seed not in self.trained]

    @property
    def failed(self) -> list[ConfirmTrained]:
        """The seeds that could not be trained, and why."""
        return [event for event in self.trained.values() if event.failure]

    @property
    def closed(self) -> bool:
        """Tell whether nothing is left to be done."""
        return self.run is None or self.result is not None

    @property
    def scored(self) -> bool:
        """Tell whether there are confirmed figures."""
        return self.result is not None and not self.result.failure
