"""A referee, another model than the one that writes, reads a run or a paper for what rules cannot see.

Nothing follows from what it finds: a person reads it in the notes, the review page or beside the paper.
"""

import json
import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.base.texts import render
from agent.campaign.folder import EXPERIMENT
from agent.campaign.record import Record
from agent.campaign.state import Run
from agent.models import Model, Request, Spent
from agent.models.transcript import spent_on
from agent.report.tables import headlines, metric_table

TRIES = 3
SYSTEM = "You referee research on sparse autoencoders that another model carried out."


class Findings(BaseModel):
    """The form of a referee's reply."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    findings: Annotated[list[Annotated[str, Field(min_length=1, max_length=600)]], Field(max_length=12)]


@dataclass(frozen=True)
class Reading:
    """The outcome of a referee's reading.

    Args:
        findings: A text of one line each.
        failure: Why there are none to speak of; empty where the referee answered.
        tokens: Those of all its replies.
        dollars: Their cost; None where a price is unknown.
        call: The last one's line in the transcript.
    """

    findings: list[str]
    failure: str
    tokens: int
    dollars: float | None
    call: int


def read_run(record: Record, run: Run, model: Model) -> Reading:
    """Have a scored run read: its change, its code, its scores.

    Args:
        record: The campaign's.
        run: The run.
        model: The referee.
    """
    last = record.attempt(run.number)
    comparison = record.verdict(run)
    return _read(
        model,
        f"referee_run_{run.number}",
        paper="",
        number=run.number,
        idea=record.idea,
        change=last.change,
        prediction=last.prediction,
        confounds="; ".join(map(str, comparison.confounds)),
        table=metric_table(record, run, comparison, headlines(record)),
        diffs=[(run.name, record.folder.diff(run.attempts[0].parent, last.commit, (EXPERIMENT,)))],
        code_of=f"{EXPERIMENT} of {run.name}",
        code=record.folder.at(last.commit, EXPERIMENT),
    )


def read_paper(record: Record, paper: str, model: Model) -> Reading:
    """Have a finished paper read against the code of its runs.

    Args:
        record: The campaign's.
        paper: Its source, with its numbers.
        model: The referee.
    """
    template = record.state.template
    commits = [(run.name, record.attempt(run.number).commit) for run in record.state.scored]
    return _read(
        model,
        "referee_paper",
        paper=paper,
        diffs=[(name, record.folder.diff(template, commit, (EXPERIMENT,))) for name, commit in commits],
        code_of=f"{EXPERIMENT} of the baseline, which all of these began from",
        code=record.folder.at(template, EXPERIMENT),
    )


def _read(model: Model, purpose: str, **material: Any) -> Reading:
    spent, feedback, call, findings = Spent(), "", 0, None
    for _ in range(TRIES):
        prompt = render("agent.dialogue", "prompts/referee.md.j2", feedback=feedback, **material)
        reply = model.ask(Request(system=SYSTEM, prompt=prompt, purpose=purpose))
        spent, call = spent + spent_on(reply), reply.call
        found = re.search(r"\{.*\}", reply.text, re.DOTALL)
        try:
            given = Findings.model_validate(json.loads(found[0] if found else reply.text))
        except json.JSONDecodeError as error:
            feedback = f"it is no JSON ({error})"
        except ValidationError as error:
            first = error.errors()[0]
            feedback = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        else:
            findings = [" ".join(text.split()) for text in given.findings if text.strip()]
            break
    failure = f"{TRIES} replies had not the fixed form" if findings is None else ""
    return Reading(findings or [], failure, spent.tokens, None if spent.unknown else spent.dollars, call)
