"""A review of the finished paper by the model, in a fixed form."""

import json
import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.base.files import write_atomically
from agent.base.texts import render
from agent.models.base import Model, Request

TRIES = 3


class Review(BaseModel):
    """A review; nothing is hidden if it is bad."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    summary: str = Field(min_length=1)
    strengths: list[str]
    weaknesses: list[str]
    questions: list[str]
    soundness: int = Field(ge=1, le=4)
    overall: int = Field(ge=1, le=10)
    decision: Literal["accept", "reject"]


def review(paper: str, model: Model, path: Path) -> Review | None:
    """Ask for a review and keep it.

    Args:
        paper: The paper's source.
        model: Who answers.
        path: Where the review is kept, as JSON.

    Returns:
        The review; None when no reply had the form.
    """
    feedback = ""
    for _ in range(TRIES):
        prompt = render("agent.writeup", "prompts/review.md.j2", paper=paper, feedback=feedback)
        reply = model.ask(Request(system="You review papers.", prompt=prompt, purpose="writeup_review"))
        found = re.search(r"\{.*\}", reply.text, re.DOTALL)
        try:
            made = Review.model_validate(json.loads(found[0] if found else reply.text))
        except json.JSONDecodeError as error:
            feedback = f"it is no JSON ({error})"
        except ValidationError as error:
            first = error.errors()[0]
            feedback = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        else:
            write_atomically(path, made.model_dump_json(indent=1) + "\n")
            return made
    return None
