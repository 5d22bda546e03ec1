"""Takes a reply through a real campaign: proposed, tried, trained, scored, compared, and says where it was stopped."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from agent.base.places import TEMPLATE
from agent.base.screen import Screen
from agent.campaign.campaign import Campaign
from agent.campaign.events import Ended, SmokeFailed
from agent.campaign.folder import EXPERIMENT
from agent.campaign.hashes import changed_files, record_hashes
from agent.campaign.settings import Settings
from agent.campaign.state import Run
from agent.campaign.workspace import Workspace
from agent.compute.executor import make_executor
from agent.gates.canonical import code_key
from agent.gates.protect import breaches
from agent.idea import parse_idea
from agent.models.base import Reply, Request
from agent.steps.baselines import make_baselines
from agent.steps.figures import edit_plots, make_plots
from agent.steps.match import match
from agent.steps.propose import propose
from agent.steps.score import score
from agent.steps.smoke import smoke
from agent.steps.train import train
from bench.integrity.cases import FOLDER, OUTCOMES, Case, Outcome, read_case

_IDEA = {
    "Name": "integrity",
    "Title": "Integrity",
    "Experiment": "-",
    "Technical_Details": "-",
    "Implementation_Plan": "-",
}


@dataclass(frozen=True)
class Verdict:
    """The outcome of a case.

    Args:
        case: the case.
        outcome: where it was stopped; `kept` when nothing stopped it.
        why: the first line of the reason.
        seconds: time of each step that it took.
    """

    case: Case
    outcome: Outcome
    why: str = ""
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Says:
    """A model that gives one reply."""

    text: str
    name: str = "bench"

    def ask(self, request: Request) -> Reply:
        """The reply, whatever is asked."""
        return Reply(self.text, call=1)


def make_base(folder: Path, profile: str) -> Path:
    """A campaign with its baselines and one scored run, from which every case starts.

    Args:
        folder: where it is made.
        profile: a profile of the lab's, by its name or its file.

    Returns:
        The campaign's folder.
    """
    # A single failure ends a run here: what a model would do next is not the question.
    settings = Settings(profile=profile, model="bench", attempts=1, smoke_tries=1, format_tries=1)
    workspace = Workspace.create(parse_idea(_IDEA, "bench"), settings, folder)
    campaign = _campaign(workspace.path)
    make_baselines(campaign)
    record_hashes(campaign)
    verdict = _run(campaign, read_case(FOLDER / "before.txt"))
    if OUTCOMES.index(verdict.outcome) > OUTCOMES.index("named"):
        raise RuntimeError(f"the run that is there already was stopped: {verdict.why}")
    return workspace.path


def judge(case: Case, base: Path, folder: Path) -> Verdict:
    """Take a case through a copy of a campaign.

    Args:
        case: the case.
        base: the campaign of `make_base`.
        folder: where the copy goes; it is removed afterwards.
    """
    place = folder / case.file
    shutil.copytree(base, place)
    try:
        campaign = _campaign(place)
        return _plots(campaign, case) if case.plots else _run(campaign, case)
    finally:
        shutil.rmtree(place)


def static_seconds() -> float:
    """Time that a reply's reading takes: the protected parts, and the normal form."""
    source = (TEMPLATE / EXPERIMENT).read_text(encoding="utf-8")
    times = []
    for _ in range(5):
        began = time.perf_counter()
        breaches(source)
        code_key(source)
        times.append(time.perf_counter() - began)
    return min(times)


def _campaign(place: Path) -> Campaign:
    return Campaign(Workspace(place), Screen("quiet"), place, make_executor("local"))


def _run(campaign: Campaign, case: Case) -> Verdict:
    campaign.model = _Says(case.reply)
    number, seconds = len(campaign.state.runs) + 1, {}
    steps = {"propose": propose, "smoke": smoke, "train": train, "score": score}
    for name, step in steps.items():
        began = time.perf_counter()
        step(campaign, campaign.state.open_run or Run(number))
        seconds[name] = round(time.perf_counter() - began, 3)
        now = campaign.state.runs[number - 1]
        if now.refusals and now.last is None:
            return Verdict(case, "refused", now.refusals[-1].feedback, seconds)
        if now.last and now.last.failure:
            said = now.last.failure
            outcome: Outcome = "smoke" if isinstance(said, SmokeFailed) else "void"
            return Verdict(case, outcome, f"{said.reason}\n{said.output}", seconds)
    began = time.perf_counter()
    record_hashes(campaign)
    seconds["hash"] = round(time.perf_counter() - began, 3)
    if waiting := campaign.state.unmatched:
        match(campaign, waiting)
    return _compared(campaign, case, campaign.state.runs[number - 1], seconds)


def _compared(campaign: Campaign, case: Case, run: Run, seconds: dict[str, float]) -> Verdict:
    broken = changed_files(campaign.workspace.path, campaign.state.hashes)
    if broken:
        return Verdict(case, "void", "; ".join(broken), seconds)
    comparison = campaign.verdict(run)
    said = ", ".join(map(str, comparison.confounds))
    if not comparison.comparable:
        return Verdict(case, "void", f"not comparable: {said}", seconds)
    row = comparison.row(campaign.goal)
    verdict = f"{campaign.goal} is {row.verdict if row else 'not scored'} beside {comparison.baseline.name}"
    if said:
        return Verdict(case, "named", f"named: {said}; {verdict}", seconds)
    worth = row is not None and row.verdict == "improved"
    return Verdict(case, "kept" if worth or case.honest else "judged", verdict, seconds)


def _plots(campaign: Campaign, case: Case) -> Verdict:
    campaign.record(Ended(reason="the model said ALL_COMPLETED", analysis="", call=1))
    campaign.model = _Says(case.reply)
    edit_plots(campaign)
    if campaign.state.plot_refusals:
        return Verdict(case, "refused", campaign.state.plot_refusals[-1].feedback)
    make_plots(campaign)
    if failures := campaign.state.plot_failures:
        return Verdict(case, "void", f"{failures[-1].reason}\n{failures[-1].output}")
    broken = changed_files(campaign.workspace.path, campaign.state.hashes)
    return Verdict(case, "void" if broken else "kept", "; ".join(broken))
