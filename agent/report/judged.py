"""The comparisons of a campaign: each run beside its baseline and beside the best run before it."""

from dataclasses import dataclass

from agent.base.errors import AgentError
from agent.campaign.campaign import Campaign
from agent.campaign.confirmation import Confirmation
from agent.campaign.state import Run
from agent.results.compare import JUDGED, Comparison, best_comparison, compare
from agent.results.confounds import L0, L0_TOLERANCE, near
from agent.results.read import Group

GOAL = "core.explained_variance"


@dataclass(frozen=True)
class Tally:
    """How many comparisons of a run's headline metric with its baseline a campaign made, and their outcome.

    Args:
        made: Those that have a direction and a noise floor.
        outside: Those that left it.
    """

    made: int
    outside: int

    @property
    def expected(self) -> float:
        """How many would leave a 95% interval were there no effect at all."""
        return 0.05 * self.made


def goal(campaign: Campaign) -> str:
    """The metric by which one run is better than another: the user's, else explained variance, else the first.

    Raises:
        AgentError: The user's is not scored, or has no direction.
    """
    known = next(iter(campaign.baselines.values())).metrics
    directed = [name for name, value in known.items() if value.better]
    if chosen := campaign.settings.goal:
        if chosen not in directed:
            raise AgentError(f"--goal {chosen}: choose a metric with a direction: {', '.join(directed)}")
        return chosen
    headline = [name for name in directed if known[name].headline]
    return GOAL if GOAL in directed else (headline or directed)[0]


def comparison_of(campaign: Campaign, run: Run) -> Comparison:
    """A scored run beside the baseline it is judged against: one of those that were valid when it was scored."""
    assert run.last is not None
    groups = campaign.groups(run.last.era)
    return best_comparison(campaign.result(run.number), groups.values(), run.last.changed)


def earlier_comparison(campaign: Campaign, run: Run) -> Comparison | None:
    """A scored run beside the best of those before it; None where none before it was comparable.

    Both are single runs: how much seeds do is taken from the baseline of the earlier one.
    """
    assert run.last is not None
    before = best_run(campaign, [other for other in campaign.state.scored if other.number < run.number])
    if before is None:
        return None
    other = before.run.runs[0]
    changed = list(run.last.changed)
    if campaign.attempt(int(other.name.removeprefix("run_"))).era != run.last.era:
        changed.append("what the baselines depend on")
    return compare(campaign.result(run.number), Group(other.name, (other,)), before.baseline, changed)


def best_run(campaign: Campaign, runs: list[Run]) -> Comparison | None:
    """The run with the largest gain over its baseline in the goal, of those that are comparable.

    Args:
        campaign: The campaign.
        runs: Scored runs.

    Returns:
        Its comparison, whether it improved or not; None where none has a gain to speak of.
    """
    name = goal(campaign)
    found = [
        (row.gain, comparison)
        for comparison in (comparison_of(campaign, run) for run in runs)
        if (row := comparison.row(name)) and row.verdict in JUDGED and row.gain is not None
    ]
    return max(found, key=lambda item: item[0])[1] if found else None


def wanted_k(comparison: Comparison) -> int | None:
    """At which k a TopK baseline would make a run comparable; None where it is so already, or would not become so.

    Args:
        comparison: Of the run with the baseline that is nearest.
    """
    own = comparison.run.lookup(L0)
    if own is None or not comparison.only_l0 or not own.value >= 0.5:
        return None
    k = round(own.value)
    return k if near(own.value, k, L0_TOLERANCE) else None


def confirmed(campaign: Campaign) -> Comparison | None:
    """The best run on fresh seeds beside its baseline on the same seeds; None where that was not done."""
    plan = campaign.state.confirmation
    return confirmation_of(campaign, plan) if plan and plan.scored else None


def confirmation_of(campaign: Campaign, plan: Confirmation) -> Comparison:
    """The comparison of a confirmation whose runs are scored."""
    fresh = campaign.fresh_groups()
    return compare(fresh[f"run_{plan.run}_confirm"], fresh[plan.baseline])


def headline_verdicts(comparison: Comparison) -> dict[str, str]:
    """The verdict of each headline metric."""
    return {row.metric: row.verdict for row in comparison.rows if row.value.headline}


def tally(campaign: Campaign) -> Tally:
    """Count the comparisons that a reader picks from: every headline metric of every run with its baseline."""
    rows = [row for run in campaign.state.scored for row in comparison_of(campaign, run).rows if row.value.headline]
    judged = [row for row in rows if row.verdict in JUDGED and row.margin is not None and row.value.better]
    return Tally(len(judged), sum(row.verdict != "within noise" for row in judged))
