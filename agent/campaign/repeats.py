"""The events by which a run gets more seeds than its first (`agent.results.sequential`)."""

from typing import ClassVar, Literal

from agent.campaign.events import Hashes, RunEvent


class SeedTrained(RunEvent):
    """One more seed of a run was trained; `failure` says why it could not be, or nothing.

    Args:
        seed: The seed.
        kept: The folder with what it left, in that of the run's seeds.
    """

    kind: ClassVar[Literal["seed_trained"]] = "seed_trained"
    seed: int
    seconds: float
    failure: str
    output: str
    kept: str
    files: Hashes


class Looked(RunEvent):
    """A run was compared with the seeds that it has, and it was decided whether it gets more.

    Args:
        seeds: The seeds that it has, its first among them.
        wanted: Those that it is to have; as many where it gets no more.
        most: The most that a run got then.
        reason: Why, in words.
        against: The baseline it was compared with.
        verdicts: The verdict of each headline metric.
        match: The baselines that were trained or grew for it.
        failure: Why a further seed does not count, so that there is no verdict; or nothing.
    """

    kind: ClassVar[Literal["looked"]] = "looked"
    seeds: int
    wanted: int
    most: int
    reason: str
    against: str
    verdicts: dict[str, str]
    match: list[str]
    failure: str


def seeds_folder(run: int, attempt: int) -> str:
    """The folder, in a campaign's, of the seeds of an attempt of a run but for its first."""
    return f"run_{run}_seeds_{attempt}"
