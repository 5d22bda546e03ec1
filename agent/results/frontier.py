"""The lab's grid of baselines (`python -m lab.grid`): what other architectures reach at the L0 of a run."""

from agent.results.compare import Comparison, compare
from agent.results.read import Group


def beside_frontier(comparison: Comparison, grid: dict[str, Group], metric: str) -> str:
    """The grid's values of a metric where a run is: the same L0, dictionary size, tokens, data and evaluator.

    Args:
        comparison: Of the run with its baseline.
        grid: A group for each architecture and L0.
        metric: For example `core.explained_variance`.

    Returns:
        For example `jumprelu 0.8601 ± 0.0004 (3 seeds), relu 0.7454 (1 seed)`; nothing where no point is comparable.
    """
    said = []
    for group in grid.values():
        value = group.lookup(metric)
        if value is not None and compare(comparison.run, group).comparable:
            said.append(f"{group.architecture} {value} ({value.n} seed{'s' if value.n > 1 else ''})")
    return ", ".join(said)
