"""Writing a paper with a model: each section drafted, then criticised and refined, then set beside the whole."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from agent.base.texts import render
from agent.edit import Block, apply_reply
from agent.models.base import Model, Request
from agent.writeup.citations import Library
from agent.writeup.outline import Section
from agent.writeup.paper import Paper

Stage = Literal["draft", "refine", "whole", "mend"]
TRIES = 3
SEARCHES = 3
FAULTS_SHOWN = 12
BEGINNING = 400
REFUSED = "Your last reply was refused, and nothing was changed:"
AUDITED = (
    "The section cannot stay as it is shown above, with your last edits: results, verdicts or code do not bear out "
    "what is listed here. Mend it with edit blocks against the text above."
)
_SEARCH = re.compile(r"<search>(?P<query>.+?)</search>", re.DOTALL)
_LABEL = re.compile(r"\\label\{([^{}]*)\}")
_NO_CHANGE = re.compile(r"^\W*NO_CHANGE\W*$", re.MULTILINE)


@dataclass
class Writer:
    """Who writes a paper.

    Args:
        paper: The paper.
        model: Who answers.
        system: The fixed part of the prompts, made anew when works were found.
        facts: For some sections, what they are written from besides the fixed part.
        library: Where works are searched; None where that is off.
        say: Told what is going on.
    """

    paper: Paper
    model: Model
    system: Callable[[], str]
    facts: dict[str, str]
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

        A text that the audit refused is what the next reply edits, so that one fault costs one edit, not the section.

        Args:
            section: The section.
            stage: What is asked.
            faults: What is to be mended.

        Returns:
            Whether the section was changed, or needs no change.
        """
        before = self.paper.text(section)
        # What an earlier turn left in it; at the end the faults are named anyway.
        left = self._audited(section) if before and stage in ("refine", "whole") else ""
        audited = feedback = left
        pending = list[Block]()
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
            if stage in ("refine", "whole") and not left and _NO_CHANGE.search(reply.text):
                self.paper.put(section, before)
                self.say(f"{section.name}, {stage}: no change")
                return True
            if stage == "draft" and self.paper.text(section) and _from_nothing(reply.text):
                self.paper.put(section, "")
            outcome = apply_reply(
                reply.text,
                self.paper.folder,
                (section.file,),
                lint=False,
                pending=pending,
                cut_off=reply.finish == "length",
            )
            if not outcome.applied:
                feedback = "\n\n".join(filter(None, (REFUSED, outcome.feedback.strip(), audited)))
                pending = outcome.pending
                continue
            pending = []
            audited = feedback = self._audited(section)
            if not audited:
                self.say(f"{section.name}, {stage}: done")
                return True
        # A first draft with faults is better than nothing: the faults are found again at the end, and mended or named.
        if before:
            self.paper.put(section, before)
        self.say(
            f"{section.name}, {stage}: {tries} replies were refused, {'kept as it was' if before else 'faults left'}"
        )
        return False

    def _audited(self, section: Section) -> str:
        """The audit's findings in a section as it stands, for the model; nothing where it is clean."""
        found = self.paper.audit_section(section)
        if not found:
            return ""
        lines = [f"- {line}" for line in found[:FAULTS_SHOWN]]
        if len(found) > FAULTS_SHOWN:
            lines.append(f"- and {len(found) - FAULTS_SHOWN} more")
        return "\n".join((AUDITED, "", *lines))

    def _request(self, section: Section, stage: Stage, faults: str, feedback: str, searches: int) -> Request:
        prompt = render(
            "agent.writeup",
            "prompts/turn.md.j2",
            section=section,
            stage=stage,
            others=self._others(section, stage),
            labels=self._labels(section) if stage != "whole" else "",
            facts=self.facts.get(section.name, "") if stage in ("draft", "refine") else "",
            text=self.paper.text(section),
            feedback=feedback,
            faults=faults,
            searching=searches,
        )
        return Request(system=self.system(), prompt=prompt, purpose=f"writeup_{stage}_{section.name}")

    def _others(self, section: Section, stage: Stage) -> str:
        """The other sections: whole where the whole is looked at, else how the ones before begin."""
        texts = [self.paper.text(other).strip() for other in self.paper.sections if other != section]
        if stage != "whole":
            texts = [_beginning(text) for text in texts]
        return "\n\n".join(filter(None, texts))

    def _labels(self, section: Section) -> str:
        """The labels that the other sections define and can be referred to."""
        texts = (self.paper.text(other) for other in self.paper.sections if other != section)
        return ", ".join(label for text in texts for label in _LABEL.findall(text))


def _from_nothing(reply: str) -> bool:
    """Tell if a reply is one block with an empty SEARCH: a draft written anew, where an edit of it was asked for."""
    return reply.count("<<<<<<< SEARCH") == 1 and re.search(r"<<<<<<< SEARCH\s*\n=======\n", reply) is not None


def _beginning(text: str) -> str:
    """Heading and first sentences of a section, whole words."""
    flat = re.sub(r"\n\s*\n", "\n", text)
    return flat if len(flat) <= BEGINNING else f"{flat[:BEGINNING].rsplit(maxsplit=1)[0]} ..."
