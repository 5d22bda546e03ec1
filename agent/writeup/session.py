"""From a campaign to a paper: write, make, audit, compile, mend, review."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from agent.audit.evidence import gather
from agent.base.errors import AgentError
from agent.base.files import write_atomically
from agent.base.places import IDEAS
from agent.campaign.record import REFEREE, TRANSCRIPT, Record
from agent.compute.sandbox import Sandbox, choose_sandbox
from agent.dialogue.referee import read_paper
from agent.models import Budget, BudgetLimits, Model, Transcript, choose, make_model, same_model
from agent.report.notes import referee_told
from agent.report.tables import brief
from agent.writeup.citations import Library
from agent.writeup.draft import Writer
from agent.writeup.html import write_html
from agent.writeup.latex import INSTALL, Problem, compile_paper, has_latex, run_chktex
from agent.writeup.material import facts, fixed_part
from agent.writeup.numbers import filled, numbers_of
from agent.writeup.outline import is_null, sections
from agent.writeup.paper import Paper
from agent.writeup.peer_review import review

MENDS = 5
REFEREED = "referee.json"


@dataclass(frozen=True)
class Options:
    """The options of the command.

    Args:
        run: The campaign's folder.
        writeups: The folder that papers are made in.
        model: As `--model`.
        referee: Another model, which reads the paper against the code; empty for none.
        compile: Whether a PDF is made.
        citations: Where works are searched: nothing, `openalex`, or an address.
        budget_usd: A stop on the dollars.
    """

    run: Path
    writeups: Path
    model: str = "auto"
    referee: str = ""
    compile: bool = True
    citations: str = ""
    budget_usd: float | None = None


@dataclass(frozen=True)
class Done:
    """The outcome: what was made and what is left.

    Args:
        made: The files for the reader.
        left: The faults that are left; a paper that has some is not done.
        remark: A line for the user.
        refereed: The referee and its cost, and its findings.
    """

    made: tuple[Path, ...]
    left: tuple[str, ...]
    remark: str
    refereed: tuple[str, ...] = ()


def write_paper(options: Options, say: Callable[[str], None]) -> Done:
    """Write a paper about a campaign; started again, it goes on where it was.

    Args:
        options: What was asked for.
        say: Told what is going on, a line at a time.

    Returns:
        What was made, and what is wrong with it.

    Raises:
        AgentError: The campaign cannot be read or has no scored run, or the model gives no answer.
    """
    record = Record.open(options.run)
    evidence = gather(record)
    if not evidence.runs:
        raise AgentError(f"{options.run} has no scored run, so there is nothing to write about; resume the campaign")
    null = is_null(evidence)
    day = datetime.fromisoformat(record.folder.ledger.entries[-1].time).strftime("%d %B %Y").lstrip("0")
    paper = Paper(options.writeups / record.folder.path.name, evidence, sections(null), day, brief(record), null)
    paper.prepare()
    model, other = _models(options, record, paper)
    library = None
    if options.citations:
        library = Library(paper.folder, "" if options.citations == "openalex" else options.citations)
    writer = Writer(paper, model, fixed_part(record, paper), facts(record, evidence), library, say)
    writer.write()
    compiles = options.compile and has_latex()
    left = _mend(writer, choose_sandbox(record.settings.sandbox) if compiles else None)
    text = paper.make()
    numbers = numbers_of(text, evidence)
    write_html(paper, numbers, paper.folder / "paper.html")
    reviewed = review(filled(text, numbers), model, paper.folder / "review.json")
    if reviewed is None:
        left += ["the review has not the fixed form"]
    refereed = _refereed(record, paper, filled(text, numbers), other) if other else ()
    made = [paper.folder / name for name in ("paper.pdf", "paper.tex", "paper.html", "review.json", REFEREED)]
    remark = "" if compiles or not options.compile else INSTALL
    return Done(tuple(path for path in made if path.is_file()), tuple(left), remark, refereed)


def _refereed(record: Record, paper: Paper, text: str, model: Model) -> tuple[str, ...]:
    """Have the finished paper read, and keep what was found beside it."""
    read = read_paper(record, text, model)
    found = {"model": model.name, **asdict(read)}
    write_atomically(paper.folder / REFEREED, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return tuple(referee_told(model.name, read.tokens, read.dollars, read.findings, read.failure))


def _mend(writer: Writer, sandbox: Sandbox | None) -> list[str]:
    """Audit and compile; what is found goes back to the model, a few times; returns what is left.

    Without a sandbox nothing is compiled.
    """
    paper = writer.paper
    for mended in range(MENDS + 1):
        paper.make()
        report = paper.audit_whole()
        write_atomically(paper.folder / "audit.json", json.dumps(report.to_json(), indent=1, ensure_ascii=False) + "\n")
        problems: list[Problem] = run_chktex(paper.folder, sandbox) if sandbox else []
        # LaTeX stops at the first error; what the audit sees is mended first.
        if sandbox and report.clean and not problems:
            problems = compile_paper(paper.folder, sandbox)
        found = paper.by_section(report, problems)
        if not found or mended == MENDS:
            return [f"{name}: {line}" for name, lines in found.items() for line in lines]
        for section in paper.sections:
            if section.name in found:
                writer.turn(section, "mend", "\n".join(f"- {line}" for line in found[section.name]))
    return []


def _models(options: Options, record: Record, paper: Paper) -> tuple[Model, Model | None]:
    """Who writes, and who referees, if anybody does; one budget is for both."""
    spec = options.model
    if spec == "script":
        script = IDEAS / f"{record.idea.Name}.writeup.jsonl"
        if not script.is_file():
            raise AgentError(f"the idea {record.idea.Name} has no scripted paper ({script}); give another --model")
        spec = f"replay:{script}"
    if spec == "auto" and not record.settings.model.startswith("replay:"):
        spec = record.settings.model
    if options.referee and same_model(choose(options.referee, option="--referee").spec, choose(spec).spec):
        raise AgentError(f"--referee: name another model than the one that writes, not {options.referee!r}")
    paths = [paper.folder / name for name in (TRANSCRIPT, REFEREE)]
    budget = Budget(BudgetLimits(options.budget_usd, None), [Transcript(path) for path in paths])
    specs = (spec, options.referee)
    made = [
        make_model(given, transcript=path, budget=budget, start=0, root=Path.cwd()) if given else None
        for given, path in zip(specs, paths, strict=True)
    ]
    assert made[0] is not None
    return made[0], made[1]
