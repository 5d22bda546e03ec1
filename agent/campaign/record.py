"""A campaign as it can be read: its state, its results, and the one place where verdicts about its runs are made."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from agent.base.errors import AgentError
from agent.campaign.confirmation import Confirmation
from agent.campaign.folder import EXPERIMENT, Folder
from agent.campaign.history import read_state
from agent.campaign.ledger import AnyEvent
from agent.campaign.repeats import seeds_folder
from agent.campaign.settings import Settings
from agent.campaign.state import Attempt, Run, State
from agent.gates.canonical import code_key
from agent.idea import Idea, parse_idea
from agent.results.compare import (
    TERMS_OF_BEFORE,
    Comparison,
    Terms,
    best_comparison,
    compare,
    comparison_of_before,
    void,
)
from agent.results.confounds import L0, Confound
from agent.results.goals import Guard, guards_of, improved
from agent.results.matching import AT_RUN, between
from agent.results.read import Group, RunResult, Value, load_groups, load_result
from agent.results.tally import Tally, count_outside

if TYPE_CHECKING:
    from lab.settings import Profile

TRANSCRIPT = "transcript.jsonl"
REFEREE = "referee.jsonl"
GOAL = "core.explained_variance"
# What two runs with different sets of baselines differ in, beside what their training records tell.
OTHER_BASELINES = "what the baselines depend on"


@dataclass
class Record:
    """A campaign, to be read. Nothing here changes its folder.

    Args:
        folder: The campaign's.
    """

    folder: Folder
    _folded: tuple[int, State] | None = field(default=None, init=False, repr=False)
    _results: dict[str, RunResult] = field(default_factory=dict, init=False, repr=False)
    _groups: dict[Path, dict[str, Group]] = field(default_factory=dict, init=False, repr=False)
    _verdicts: dict[tuple[int, int, int], Comparison] = field(default_factory=dict, init=False, repr=False)
    _pairs: dict[tuple[str, str, int | None], Comparison] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def open(cls, path: Path) -> "Record":
        """Open a campaign's folder to read it.

        Raises:
            AgentError: It is no campaign's folder, or its ledger is damaged.
        """
        return Record(Folder(path))

    @property
    def events(self) -> list[AnyEvent]:
        """All events so far, oldest first."""
        return self.folder.ledger.events

    @property
    def state(self) -> State:
        """Where the campaign stands, computed from the ledger; another object after each event."""
        events = self.events
        if self._folded is None or self._folded[0] != len(events):
            self._folded = len(events), read_state(events)
        return self._folded[1]

    @property
    def settings(self) -> Settings:
        """The campaign's settings."""
        return self.state.settings

    @cached_property
    def idea(self) -> Idea:
        """The idea, as it was when the campaign began."""
        return parse_idea(json.loads(self.folder.read("idea.json")), str(self.folder.path / "idea.json"))

    @cached_property
    def profile(self) -> "Profile":
        """The lab's settings.

        Raises:
            LabError: The profile's file is gone or damaged.
        """
        from lab.settings import load_profile

        return load_profile(self.settings.profile)

    @cached_property
    def template_code(self) -> str:
        """The key of the code that every campaign starts from."""
        return self.code_key(self.folder.at(self.state.template, EXPERIMENT))

    def code_key(self, source: str) -> str:
        """The key of an experiment's code, with what the lab gives it.

        Raises:
            SyntaxError: The source does not parse.
        """
        given = self.profile.model_dump(mode="json", include={"subject", "corpus", "activations", "training"})
        return code_key(source, {**given, "seed": self.profile.baselines.seeds[0], "device": self.settings.device})

    # Results

    @property
    def baselines(self) -> dict[str, Group]:
        """The profile's baselines of now, by architecture."""
        return self._load(self.baseline_dir())

    @property
    def baseline(self) -> Group:
        """The first of them, which the settings and metrics of a campaign are read from."""
        return next(iter(self.baselines.values()))

    def groups(self, baseline_set: int | None = None) -> dict[str, Group]:
        """All baselines of a set, by name: the profile's, and those that match the L0 of a run.

        Args:
            baseline_set: Which one, from 0; the newest when None.
        """
        folder = self.baseline_dir(baseline_set)
        return {**self._load(folder), **self._load(folder / "matched")}

    def grid(self, baseline_set: int | None = None) -> dict[str, Group]:
        """The points of the lab's grid that there were when a set of baselines was made."""
        return self._load(self.baseline_dir(baseline_set) / "grid")

    def fresh_groups(self) -> dict[str, Group]:
        """The runs of a confirmation, on fresh seeds: the run's group and its baseline's; empty without one."""
        plan = self.state.confirmation
        if plan is None or plan.run is None:
            return {}
        found = {**self._load(self.confirm_dir(plan.run)), **self._load(self.baseline_dir() / "fresh")}
        own = f"run_{plan.run}_confirm"
        ends = [f"{end}_fresh" for end in self.against(plan).ends]
        if ends and all(name in found for name in (own, *ends)) and (l0 := found[own].lookup(L0)):
            line = between([found[end] for end in ends], own, l0.value)
            found[plan.baseline] = replace(line, name=plan.baseline)
        return found

    def against(self, plan: Confirmation) -> Group:
        """The baseline that the run of a confirmation was chosen against."""
        return self.verdict(self.state.runs[(plan.run or 0) - 1]).baseline

    def baseline_dir(self, baseline_set: int | None = None) -> Path:
        """Where a set of baselines lies; those that were made again have moved."""
        folder = self.folder.run_dir(0)
        newest = len(self.state.baseline_sets) - 1
        return folder if baseline_set is None or baseline_set >= newest else folder / f"stale_{baseline_set + 1}"

    def valid_groups(self, run: Run) -> dict[str, Group]:
        """The baselines that a scored run is compared with: what was trained for later runs is none of them."""
        assert run.last is not None
        known, made = self.groups(run.last.baseline_set if run.last.score else None), self.state.baseline_seeds
        then = {
            name: tuple(one for one in group.runs if made.get(one.name, run.number) <= run.number)
            for name, group in known.items()
        }
        return {
            name: group if len(then[name]) == len(group.runs) else replace(group, runs=then[name])
            for name, group in known.items()
            if then[name]
        }

    def confirm_dir(self, number: int) -> Path:
        """Where the confirmation of a run lies."""
        return self.folder.path / f"run_{number}_confirm"

    def seeds_dir(self, run: Run) -> Path:
        """Where the seeds of a run's last attempt lie, but for its first."""
        return self.folder.path / seeds_folder(run.number, len(run.attempts))

    def forget_baselines(self) -> None:
        """Read baselines from disk again at the next question, and judge by them: they have changed."""
        self._groups.clear()
        self._verdicts.clear()
        self._pairs.clear()

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
        """The results of a scored run with its first seed."""
        return self._result(self.folder.run_dir(number), f"run_{number}")

    def scored_seeds(self, run: Run, count: int | None = None) -> Group:
        """The results of a scored run, a seed each.

        Args:
            run: The run.
            count: Of how many seeds; of those that its verdict is made with when None.
        """
        assert run.last is not None
        judged = run.last.look.seeds if run.last.look else 1
        trained = [event.kept for event in run.last.repeats if not event.failure][: (count or judged) - 1]
        folder = self.seeds_dir(run)
        return Group(run.name, (self.result(run.number), *(self._result(folder / name, name) for name in trained)))

    def _result(self, folder: Path, name: str) -> RunResult:
        if name not in self._results:
            self._results[name] = load_result(folder, name)
        return self._results[name]

    def group(self, name: str, of: Run | int | None = None) -> Group | None:
        """The results that a reference may name: a baseline, one seed of it, a scored run, or a confirmation.

        Args:
            name: For example `topk`, `topk_seed0`, `run_3`, `run_3_confirm`.
            of: Of which set a baseline is, as it was when a run was scored; the newest when None.

        Returns:
            Its runs; None where there are no such results.
        """
        groups = self.valid_groups(of) if isinstance(of, Run) else self.groups(of)
        plan = self.state.confirmation
        if plan and plan.scored:
            groups = {**self.fresh_groups(), **groups}
        if name in groups:
            return groups[name]
        verdicts = (self.verdict(run) for run in self.state.scored) if name.startswith(AT_RUN) else ()
        if at := next((found.baseline for found in verdicts if found.baseline.name == name), None):
            return at
        if run := next((run for run in self.state.scored if run.name == name), None):
            return self.scored_seeds(run)
        seeds = (seed for group in groups.values() for seed in group.runs if seed.name == name)
        return next((Group(name, (seed,)) for seed in seeds), None)

    def lookup(self, source: str, metric: str, of: Run | int | None = None) -> Value | None:
        """The number that a reference `{source:metric}` stands for, a baseline's as in `group`; None without one."""
        group = self.group(source, of)
        if group is None:
            return None
        return group.runs[0].lookup(metric) if len(group.runs) == 1 else group.lookup(metric)

    # Verdicts

    @property
    def goal(self) -> str:
        """The metric by which one run is better than another: the user's, else explained variance, else the first.

        Raises:
            AgentError: The user's is not scored, or has no direction.
        """
        known = self.baseline.metrics
        directed = [name for name, value in known.items() if value.better]
        if chosen := self.settings.goal:
            if chosen not in directed:
                raise AgentError(f"--goal {chosen}: choose a metric with a direction: {', '.join(directed)}")
            return chosen
        headline = [name for name in directed if known[name].headline]
        return GOAL if GOAL in directed else (headline or directed)[0]

    def verdict(self, run: Run) -> Comparison:
        """A scored run beside the baseline that it is judged against: one of those valid when it was scored."""
        assert run.last is not None
        key = run.number, len(run.attempts), run.last.look.seeds if run.last.look else 1
        if key not in self._verdicts:
            self._verdicts[key] = self.compared(self.scored_seeds(run), run)
        return self._verdicts[key]

    def compared(self, result: RunResult | Group, run: Run, failure: str = "") -> Comparison:
        """Results of a run beside the baseline that it is judged against; `verdict` once they are in the ledger.

        Args:
            result: The results.
            run: The run.
            failure: Why a further seed of it does not count, or nothing.
        """
        assert run.last is not None
        score = run.last.score
        groups = self.valid_groups(run).values()
        changed = run.last.changed if score else self.state.changed
        if score and score.rules < 2:
            return comparison_of_before(result, groups, changed)
        found = best_comparison(result, groups, changed, self.goal, self.settings.matched, self.terms(run))
        # What a run does with the seeds that it survives is no measure of it.
        failure = failure or (run.last.look.failure if run.last.look else "")
        return void(found, Confound("further seeds", failure, "all scored", True)) if failure else found

    def terms(self, run: Run) -> Terms:
        """The terms on which a run is judged: what matters, and the spreads of the baselines that there were then."""
        assert run.last is not None
        if run.last.score and run.last.score.rules < 2:
            return TERMS_OF_BEFORE
        most = run.last.look.most if run.last.look else self.settings.seeds
        return Terms(self.settings.smallest, tuple(self.valid_groups(run).values()), goal=self.goal, most_seeds=most)

    def guards(self, comparison: Comparison) -> tuple[Guard, ...]:
        """The guards of the campaign, as a run came out."""
        return guards_of(comparison, self.settings.guards)

    def improved(self, comparison: Comparison) -> bool:
        """Tell whether a run improved in the goal and broke no guard."""
        return improved(comparison, self.goal, self.settings.guards)

    def between(self, source: str, base: str, baseline_set: int | None = None) -> Comparison:
        """Any two things that have results, the first beside the second.

        A run and its own baseline give the run's verdict. Beside a run, how much seeds do is told by the baseline of
        that run as well.

        Args:
            source: As in `group`.
            base: What it is set beside; a baseline is of the set that was valid when the run beside it was scored.
            baseline_set: Of which set two baselines are; the newest when None.

        Raises:
            KeyError: One of them has no results.
        """
        key = source, base, baseline_set
        if key not in self._pairs:
            self._pairs[key] = self._between(*key)
        return self._pairs[key]

    def _between(self, source: str, base: str, baseline_set: int | None) -> Comparison:
        runs = {run.name: run for run in self.state.scored}
        first, second = runs.get(source), runs.get(base)
        if first and base == self.verdict(first).baseline.name:
            return self.verdict(first)
        sets = [run.last.baseline_set for run in (first, second) if run and run.last]
        judged = first or second
        ours, theirs = (self.group(name, judged or baseline_set) for name in (source, base))
        if ours is None or theirs is None:
            raise KeyError(source if ours is None else base)
        changed = list(first.last.changed) if first and first.last else []
        if len(set(sets)) > 1:
            changed.append(OTHER_BASELINES)
        noise = self.verdict(second).baseline if second else None
        if noise is None and len(ours.runs) == len(theirs.runs) == 1:
            noise = next(iter(self.groups(sets[0] if sets else baseline_set).values()), None)
        terms = replace(self.terms(judged), goal="") if judged else Terms(self.settings.smallest)
        return compare(ours, theirs, noise, changed, terms)

    def beside_earlier(self, run: Run) -> Comparison | None:
        """A scored run beside the best of those before it; None where none before it was comparable."""
        before = self.best([other for other in self.state.scored if other.number < run.number])
        return None if before is None else self.between(run.name, before.run.name)

    def best(self, runs: Iterable[Run]) -> Comparison | None:
        """The verdict of the run with the largest gain over its baseline in the goal, of those that are comparable.

        Args:
            runs: Scored runs.

        Returns:
            Its comparison, whether it improved or not; None where none has a gain to speak of.
        """
        found = [
            (row.gain, comparison)
            for comparison in map(self.verdict, runs)
            if (row := comparison.row(self.goal)) and row.judged and row.gain is not None
        ]
        return max(found, key=lambda item: item[0])[1] if found else None

    def confirmed(self) -> Comparison | None:
        """The best run on fresh seeds beside its baseline on the same seeds; None where that was not done."""
        plan = self.state.confirmation
        return self.on_fresh_seeds(plan) if plan and plan.scored else None

    def on_fresh_seeds(self, plan: Confirmation) -> Comparison:
        """The comparison of a confirmation whose runs are scored."""
        fresh, terms = self.fresh_groups(), replace(self.terms(self.state.runs[(plan.run or 0) - 1]), goal="")
        # The baseline of before is the same code with other seeds: it tells how much seeds do, not which is better.
        noise = self.against(plan) if terms.equivalence else None
        return compare(fresh[f"run_{plan.run}_confirm"], fresh[plan.baseline], noise, terms=terms)

    def tally(self) -> Tally:
        """Count the comparisons that a reader picks from: every headline metric of every run with its baseline."""
        scored = self.state.scored
        return count_outside(map(self.verdict, scored), self.goal if scored else "")
