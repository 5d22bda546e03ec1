"""The progress of the confirmation of the best run, as the ledger tells it."""

from dataclasses import dataclass, field
from typing import Any


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
    trained: dict[int, dict[str, Any]] = field(default_factory=dict)
    baseline: str = ""
    result: dict[str, Any] | None = None

    @classmethod
    def chosen(cls, data: dict[str, Any]) -> "Confirmation":
        """As the event `confirming` says it."""
        return cls(data["run"], data["against"], list(data["seeds"]), data["reason"])

    def take(self, data: dict[str, Any]) -> None:
        """Go on by one event: a seed was trained, the baseline was made, or all was scored."""
        if "seed" in data:
            self.trained[data["seed"]] = data
        elif "baseline" in data:
            self.baseline = data["baseline"]
        else:
            self.result = data

    @property
    def missing(self) -> list[int]:
        """The seeds that are still to be trained."""
        return [seed for seed in self.seeds if seed not in self.trained]

    @property
    def failed(self) -> list[dict[str, Any]]:
        """The seeds that could not be trained, and why."""
        return [data for data in self.trained.values() if data["failure"]]

    @property
    def closed(self) -> bool:
        """Tell whether nothing is left to be done."""
        return self.run is None or self.result is not None

    @property
    def scored(self) -> bool:
        """Tell whether there are confirmed figures."""
        return self.result is not None and not self.result["failure"]
