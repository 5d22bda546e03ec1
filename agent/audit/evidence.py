"""The evidence of a campaign: its scores, verdicts, settings and code, gathered once for an audit."""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.audit.quoted import Quoted, quoted_in_notes
from agent.results.compare import Verdict
from agent.results.noise import difference
from agent.results.read import Group, RunResult, Value

if TYPE_CHECKING:
    from agent.campaign.record import Record
    from agent.campaign.state import Run

# As a source, how far one new run of the first baseline may lie from its mean: `{noise:core.explained_variance}`.
NOISE = "noise"


@dataclass(frozen=True)
class Finding:
    """A score that stands where one was looked for."""

    source: str
    metric: str
    value: Value

    def __str__(self) -> str:
        return f"{self.source}:{self.metric}"


@dataclass(frozen=True)
class Judgement:
    """The verdict of the comparison on one metric of a run beside something else."""

    verdict: Verdict
    delta: float | None
    why: str = ""
    margin: float | None = None
    smallest: float = 0.0


@dataclass
class Evidence:
    """A campaign, as far as a text about it can be checked.

    Args:
        record: The campaign's, which gives the verdicts.
        folder: The campaign's.
        groups: The baselines, by architecture.
        runs: The scored runs, by name (`run_3`), with all seeds that their verdicts are made with.
        statuses: All runs, with `scored`, `failed`, `refused` or `open`.
        code: The experiment of each run that had an edit.
        template: The experiment that all started from.
        settings: Numbers that were given rather than measured: the profile's, and the tolerances of comparisons.
        facts: For each run, numbers that the ledger tells: seconds, attempts, changed lines.
        computed: What the loop itself says of results that no reference reaches, normalised: of a confirmation, of
            chance, of the lab's grid.
        quoted: What the loop puts into its notes word for word, and what it says there it is.
        fresh: What a confirmation trained with fresh seeds, the run's group and its baseline's.
        baseline_set: Which set of baselines `groups` are; the newest when None.
        unscored: Whether metrics that nothing was scored by are known as such, too; the lab has to be loaded for that.
    """

    record: "Record"
    folder: Path
    groups: dict[str, Group]
    runs: dict[str, Group]
    statuses: dict[str, str]
    code: dict[str, str]
    template: str
    settings: dict[str, set[float]]
    facts: dict[str, set[float]]
    computed: str
    quoted: Quoted
    fresh: dict[str, Group] = field(default_factory=dict)
    baseline_set: int | None = None
    unscored: bool = True
    _values: dict[tuple[str, str], Value | None] = field(default_factory=dict)
    _of_runs: dict[int, "Evidence"] = field(default_factory=dict)

    @property
    def sources(self) -> list[str]:
        """Everything that a reference may name: baselines, their seeds, scored runs."""
        seeds = [run.name for group in self.groups.values() for run in group.runs]
        return [*self.groups, *self.runs, *self.fresh, *seeds]

    @cached_property
    def known_baselines(self) -> dict[str, Group]:
        """The baselines of all sets by name, a newer one in place of an older one of its name."""
        sets = range(len(self.record.state.baseline_sets))
        return {name: group for number in sets for name, group in self.record.groups(number).items()}

    def beside(self, runs: Iterable[str]) -> "Evidence":
        """The evidence for a passage about some runs: the baselines in it are those that were valid for these.

        Args:
            runs: Names; those of runs that were not scored do not count.

        Returns:
            The same evidence; where all are of one set, with its baselines as they were for the last of them.
        """
        named = sorted({int(name.removeprefix("run_")) for name in runs if name in self.runs})
        sets = {self.record.attempt(number).baseline_set for number in named}
        if len(sets) != 1:
            return self
        latest = named[-1]
        if latest not in self._of_runs:
            groups = self.record.valid_groups(self.record.state.runs[latest - 1])
            self._of_runs[latest] = replace(self, groups=groups, baseline_set=sets.pop(), _values={}, _of_runs={})
        return self._of_runs[latest]

    def lookup(self, source: str, metric: str) -> Value | None:
        """The number that `{source:metric}` stands for; None when there is none."""
        if (source, metric) not in self._values:
            found = self._lookup(source, metric)
            self._values[source, metric] = None if found is None or math.isnan(found.value) else found
        return self._values[source, metric]

    def _lookup(self, source: str, metric: str) -> Value | None:
        if source in self.groups:
            return self.groups[source].lookup(metric)
        if source in self.fresh:
            return self.fresh[source].lookup(metric)
        if source in self.runs:
            return self.runs[source].lookup(metric)
        if source == NOISE:
            return self._noise(metric)
        seeds = (run for group in self.groups.values() for run in group.runs if run.name == source)
        return next((run.lookup(metric) for run in seeds), None)

    def _noise(self, metric: str) -> Value | None:
        """The half width of the interval in which one new run of the first baseline would lie."""
        group = self.groups.get(self.reference)
        mean = group.lookup(metric) if group else None
        if group is None or mean is None:
            return None
        margin = difference([(None, mean.value)], group.samples(metric)).margin
        return None if margin is None else Value(margin, unit=mean.unit)

    @property
    def reference(self) -> str:
        """The baseline that `noise` speaks of, the first one."""
        return next(iter(self.groups), "")

    @cached_property
    def metrics(self) -> list[str]:
        """All metrics that something was scored for."""
        results = [run for group in (*self.groups.values(), *self.runs.values()) for run in group.runs]
        return list(dict.fromkeys(name for result in results for name in result.metrics))

    def findings(self, sources: list[str], metrics: list[str]) -> Iterator[Finding]:
        """The scores of some sources for some metrics."""
        for source in sources:
            for metric in metrics:
                value = self.lookup(source, metric)
                if value is not None:
                    yield Finding(source, metric, value)

    def base_of(self, run: str) -> str:
        """The baseline that a run is judged against; the first one for anything else."""
        if run not in self.runs or not self.groups:
            return next(iter(self.groups), "")
        return self.record.verdict(self.record.state.runs[int(run.removeprefix("run_")) - 1]).baseline.name

    def judge(self, source: str, metric: str, base: str) -> Judgement:
        """Judge a metric of one source beside another.

        Args:
            source: A run, a baseline or a seed of one.
            metric: For example `core.l0`.
            base: What it is set beside.

        Returns:
            The verdict; `not comparable` where confounds forbid one, `no baseline` where a score is missing.
        """
        own = self.lookup(source, metric)
        if own is None or self.lookup(base, metric) is None:
            missing = source if own is None else base
            return Judgement("no baseline", None, f"{metric} was not scored for {missing}")
        comparison = self.record.between(source, base, self.baseline_set)
        row = comparison.row(metric)
        if row is None:
            return Judgement("no baseline", None)
        blocking = "; ".join(str(confound) for confound in comparison.confounds if confound.blocks)
        return Judgement(row.verdict, row.delta, blocking, row.margin, row.smallest)

    def _result(self, source: str) -> RunResult:
        for name, group in {**self.groups, **self.runs, **self.fresh}.items():
            for run in group.runs:
                if source in (name, run.name):
                    return run
        raise KeyError(source)

    def setting_values(self, sources: list[str]) -> dict[str, set[float]]:
        """Names of settings and the values they have in some runs, and in the profile."""
        found = {key: set(values) for key, values in self.settings.items()}
        for result in map(self._result, sources or self.sources):
            records = {**result.training, **result.training.get("settings", {})}
            for key, value in records.items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    found.setdefault(key, set()).add(float(value))
        return found


def gather(record: "Record", unscored: bool = True) -> Evidence:
    """Read what a campaign can answer for.

    Args:
        record: The campaign's; nothing in its folder is changed.
        unscored: As `Evidence.unscored`.

    Returns:
        The evidence.

    Raises:
        AgentError: The ledger or a result is damaged.
    """
    from agent.campaign.folder import EXPERIMENT

    state = record.state
    scored = {run.name: record.scored_seeds(run) for run in state.scored}
    last = {f"run_{run.number}": run.last for run in state.runs}
    return Evidence(
        record=record,
        folder=record.folder.path,
        groups=record.groups(),
        fresh={name: group for name, group in record.fresh_groups().items() if name not in record.groups()},
        runs=scored,
        statuses={f"run_{run.number}": run.status for run in state.runs},
        code={name: record.folder.at(attempt.commit, EXPERIMENT) for name, attempt in last.items() if attempt},
        template=record.folder.at(state.template, EXPERIMENT),
        settings=_settings(record),
        facts={f"run_{run.number}": _facts(run) for run in state.runs},
        computed=normalised("\n".join(_computed(record))),
        quoted=quoted_in_notes(record),
        unscored=unscored,
    )


def normalised(text: str) -> str:
    """Text with its white space made single, to be looked for in other text."""
    return " ".join(text.split())


def _settings(record: "Record") -> dict[str, set[float]]:
    """The profile's numbers under their own names, where the profile is still there, and the fixed tolerances."""
    from agent.results.confounds import L0_TOLERANCE, TOKENS_TOLERANCE
    from lab.errors import LabError

    found: dict[str, set[float]] = {"tolerance": {L0_TOLERANCE, TOKENS_TOLERANCE}, "interval": {0.95}}
    try:
        tree: dict[str, Any] = json.loads(record.profile.model_dump_json())
    except LabError:
        tree = {}
    limits = record.settings.model_dump()
    for key, value in [*_leaves(tree), *_leaves(limits)]:
        found.setdefault(key, set()).add(value)
    return found


def _leaves(tree: Any, key: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(tree, dict):
        for name, inner in tree.items():
            yield from _leaves(inner, str(name))
    elif isinstance(tree, list | tuple):
        for inner in tree:
            yield from _leaves(inner, key)
    elif isinstance(tree, int | float) and not isinstance(tree, bool):
        yield key, float(tree)


def _facts(run: "Run") -> set[float]:
    found = {float(len(run.attempts)), float(len(run.refused))}
    for attempt in run.attempts:
        found.add(float(attempt.look.seeds if attempt.look else 1))
        for event in (attempt.ran, attempt.failure, attempt.score, *attempt.repeats):
            if event:
                found.add(event.seconds)
    return found


def _computed(record: "Record") -> Iterator[str]:
    """The texts that the loop computes for its notes where no reference reaches: confirmation, grid, confounds."""
    from agent.report.closing import chance_text, confirmation_text
    from agent.report.tables import asked_text
    from agent.results.frontier import beside_frontier

    yield from confirmation_text(record)
    yield chance_text(record)
    if any(run.last and run.last.score and run.last.score.rules < 2 for run in record.state.scored):
        yield from _computed_before(record, confirmation_text(record))
    for run in record.state.scored:
        baseline_set = run.last.baseline_set if run.last else None
        yield beside_frontier(record.verdict(run), record.grid(baseline_set), record.goal)
        yield from map(str, record.verdict(run).confounds)
        yield from (f"- {line}" for line in asked_text(record, record.verdict(run)))


def _computed_before(record: "Record", confirmation: list[str]) -> Iterator[str]:
    """The same in the words of version 0.1.0, whose notes are as they were."""
    yield from (text.replace("(±", "(noise ±") for text in confirmation)
    count = record.tally()
    yield (
        f"{count.made} comparisons of a headline metric with its baseline were made and {count.outside} lie outside "
        f"their 95% interval; if no change had any effect, about {count.expected:.1f} would. A single one outside is a "
        "lead; what is confirmed on fresh seeds is a finding."
    )
