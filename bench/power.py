"""The power of a campaign: simulated ones through the comparison that judges real ones.

    python -m bench.power [--campaigns 1000] [--effects 0,1,2,3,4] [--seeds 6] [--baseline 8] [--json]

Each campaign has ten runs, one of which has a true effect on the goal, in standard deviations of a seed; the others
have none. A run gets its seeds as in the loop, the best that improved is confirmed on fresh seeds of its own and of its
baseline. Nothing is trained.
"""

import argparse
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from agent.results.compare import Comparison, Terms, compare
from agent.results.read import Group, RunResult, Value
from agent.results.sequential import wanted

GOAL = "core.explained_variance"
RUNS = 10
_BASE = 100.0  # a value beside which an effect that matters (0.3%) is smaller than a seed's spread


@dataclass(frozen=True)
class Outcome:
    """The outcome of simulated campaigns.

    Args:
        effect: The true effect of one run, in standard deviations of a seed.
        improved: The share of campaigns in which that run is called improved.
        confirmed: That in which it is confirmed on fresh seeds, too.
        false_improved: The share of the other runs that are called improved.
        false_confirmed: The share of campaigns in which one of the others is confirmed.
        trainings: The mean number of trainings, those of the confirmation and its baseline among them, but for those of
            the baseline that is kept.
    """

    effect: float
    improved: float
    confirmed: float
    false_improved: float
    false_confirmed: float
    trainings: float


@dataclass(frozen=True)
class Plan:
    """The seeds of a campaign.

    Args:
        most: The most that a run gets.
        baseline: Those of the baseline.
        confirm: The fresh ones that the best run and its baseline are confirmed on.
    """

    most: int = 6
    baseline: int = 8
    confirm: int = 3

    @property
    def terms(self) -> Terms:
        """The terms of a comparison."""
        return Terms(goal=GOAL, most_seeds=self.most)


def simulate(plan: Plan, effect: float, campaigns: int, seed: int = 0) -> Outcome:
    """Simulate campaigns.

    Args:
        plan: Their seeds.
        effect: The true effect of one run of each, in standard deviations of a seed.
        campaigns: How many.
        seed: Of the simulation.
    """
    drawn = random.Random(seed)
    improved = confirmed = false_improved = false_confirmed = trainings = 0
    for _ in range(campaigns):
        baseline = _group("topk", 0.0, plan.baseline, drawn)
        found = [_run(number, effect if number == 0 else 0.0, baseline, plan, drawn) for number in range(RUNS)]
        trainings += sum(len(one.run.runs) for one in found)
        better = [place for place, one in enumerate(found) if _verdict(one) == "improved"]
        improved += 0 in better
        false_improved += len([place for place in better if place])
        if not better:
            continue
        best = max(better, key=lambda place: found[place].rows[0].delta or 0.0)
        trainings += 2 * plan.confirm
        again = compare(
            _group("best", effect if best == 0 else 0.0, plan.confirm, drawn),
            _group("fresh", 0.0, plan.confirm, drawn),
            baseline,
        )
        confirmed += best == 0 and _verdict(again) == "improved"
        false_confirmed += best != 0 and _verdict(again) == "improved"
    others = campaigns * (RUNS - 1)
    return Outcome(
        effect,
        improved / campaigns,
        confirmed / campaigns,
        false_improved / others,
        false_confirmed / campaigns,
        trainings / campaigns,
    )


def _run(number: int, effect: float, baseline: Group, plan: Plan, drawn: random.Random) -> Comparison:
    """A run with the seeds that it gets, beside its baseline."""
    all_seeds = _group(f"run_{number}", effect, plan.most, drawn)
    seeds = 1
    while True:
        found = compare(Group(all_seeds.name, all_seeds.runs[:seeds]), baseline, terms=plan.terms)
        more, _ = wanted(found, GOAL, plan.most)
        if more == seeds:
            return found
        seeds = more


def _verdict(comparison: Comparison) -> str:
    return comparison.rows[0].verdict


def _group(name: str, effect: float, seeds: int, drawn: random.Random) -> Group:
    values = [_BASE + effect + drawn.gauss(0, 1) for _ in range(seeds)]
    first = drawn.randrange(10**9)
    training = {"architecture": "topk", "flop": 1.0, "rows": 1, "updates": 1.0, "parameters_trained": 1}
    return Group(
        name,
        tuple(
            RunResult(
                f"{name}_seed{first + place}",
                {GOAL: Value(value, "higher", headline=True, matters=1e-4), "core.l0": Value(32.0)},
                {**training, "seed": first + place},
                "",
                {},
            )
            for place, value in enumerate(values)
        ),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.power", description="Simulate what campaigns can see.")
    parser.add_argument("--campaigns", type=int, default=1000, help="for each effect (1000)")
    parser.add_argument("--effects", default="0,1,2,3,4", help="in standard deviations of a seed, with commas")
    parser.add_argument("--seeds", type=int, default=6, choices=(1, 3, 6), help="the most of a run (6)")
    parser.add_argument("--baseline", type=int, default=8, help="seeds of the baseline (8)")
    parser.add_argument("--confirm", type=int, default=3, help="fresh seeds of the confirmation (3)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    plan = Plan(options.seeds, options.baseline, options.confirm)
    outcomes = [simulate(plan, float(effect), options.campaigns) for effect in options.effects.split(",")]
    if options.json:
        sys.stdout.write(json.dumps([asdict(one) for one in outcomes]) + "\n")
        return 0
    sys.stdout.write("effect (sd)  improved  confirmed  other runs improved  other confirmed  trainings\n")
    for one in outcomes:
        sys.stdout.write(
            f"{one.effect:11g}  {one.improved:8.1%}  {one.confirmed:9.1%}  {one.false_improved:19.1%}"
            f"  {one.false_confirmed:15.1%}  {one.trainings:9.1f}\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
