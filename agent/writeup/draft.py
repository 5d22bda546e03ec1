"""Writing a paper with a model: each section drafted, then criticised and refined, then set beside the whole."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from agent.edit import Block, apply_reply
from agent.models.base import Model, Request
from agent.prompt import render
from agent.writeup.citations import Library
from agent.writeup.outline import Section
from agent.writeup.paper import Paper

Stage = Literal["draft", "refine", "whole", "mend"]
TRIES = 3
SEARCHES = 3
FAULTS_SHOWN = 12
_SEARCH = re.compile(r"<search>(?P<query>.+?)</search>", re.DOTALL)
_NO_CHANGE = re.compile(r"^\W*NO_CHANGE\W*$", re.MULTILINE)


@dataclass
class Writer:
    """Who writes a paper.

    Args:
        paper: The paper.
        model: Who answers.
        system: The fixed part of the prompts, made anew when works were found.
        code: What each run changed, for the section that describes the method.
        library: Where works are searched; None where that is off.
        say: Told what is going on.
    """

    paper: Paper
    model: Model
    system: Callable[[], str]
    code: str
    library: Library | None
    say: Callable[[str], None]

    def write(self) -> None:
        """Draft and refine section by section, then set each beside the whole once more."""
        for section in self.paper.sections:
            self.turn(section, "draft")
            self.turn(section, "refine")
        for section in self.paper.sections:
            self.turn(section, "whole")

    def turn(self, section: Section, stage: Stage, faults: str = "") -> bool:
        """One change of a section; refused when it does not apply or the audit finds something in what it leaves.

        Args:
            section: The section.
            stage: What is asked.
            faults: What is to be mended.

        Returns:
            Whether the section was changed, or needs no change.
        """
        before = self.paper.text(section)
        feedback, held = "", list[Block]()
        searches = SEARCHES if self.library and section.searches and stage in ("draft", "refine") else 0
        tries = 0
        while tries < TRIES:
            reply = self.model.ask(self._request(section, stage, faults, feedback, searches))
            query = _SEARCH.search(reply.text)
            if query and searches and self.library:
                searches -= 1
                feedback = self.library.search(query["query"].strip())
                continue
            tries += 1
            if stage in ("refine", "whole") and _NO_CHANGE.search(reply.text):
                self.say(f"{section.name}, {stage}: no change")
                return True
            outcome = apply_reply(
                reply.text, self.paper.folder, (section.file,), lint=False, held=held, cut_off=reply.finish == "length"
            )
            if not outcome.applied:
                feedback, held = outcome.feedback, outcome.held
                continue
            held = []
            found = self.paper.audit_section(section)
            if not found:
                self.say(f"{section.name}, {stage}: done")
                return True
            feedback = "The audit found what results, verdicts or code do not bear out:\n" + "\n".join(
                f"- {line}" for line in found[:FAULTS_SHOWN]
            )
            if before or tries < TRIES:
                self.paper.put(section, before)
        # A first draft with faults is better than nothing: the faults are found again at the end, and mended or named.
        self.say(
            f"{section.name}, {stage}: {tries} replies were refused, {'kept as it was' if before else 'faults left'}"
        )
        return False

    def _request(self, section: Section, stage: Stage, faults: str, feedback: str, searches: int) -> Request:
        prompt = render(
            "writeup_turn.md.j2",
            section=section,
            stage=stage,
            others=self._others(section, stage),
            code=self.code if section.code and stage in ("draft", "refine") else "",
            text=self.paper.text(section),
            feedback=feedback,
            faults=faults,
            searching=searches,
        )
        return Request(system=self.system(), prompt=prompt, purpose=f"writeup_{stage}_{section.name}")

    def _others(self, section: Section, stage: Stage) -> str:
        """The other sections: whole where the whole is looked at, else only how the ones before begin."""
        parts = []
        for other in self.paper.sections:
            text = self.paper.text(other).strip()
            if other == section or not text:
                continue
            if stage != "whole":
                text = text.split("\n\n")[0][:400]
            parts.append(text)
        return "\n\n".join(parts)
