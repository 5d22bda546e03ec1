"""The shape of a reply: `<analysis>`, `<change>`, `<prediction>`, search/replace blocks, or ALL_COMPLETED."""

import re
from dataclasses import dataclass, replace

from agent.results.predictions import Prediction

_NUMBER = r"\d*\.?\d+(?:[eE]-?\d+)?"
_LINE = re.compile(
    r"^\W*(?P<metric>[a-z_]+\.[a-z0-9_]+)\W*\s+(?P<direction>up|down|same)\b"
    rf"(?:\s+by\s+(?P<low>{_NUMBER})(?:\s*(?:\.\.|to|-)\s*(?P<high>{_NUMBER}))?)?",
    re.MULTILINE,
)


@dataclass(frozen=True)
class ReplyParts:
    """A reply taken apart.

    Args:
        analysis: What the model says of the results so far; references not yet filled in.
        change: One line that names the change.
        prediction: The prediction as written.
        predictions: Its lines that name a metric.
        edits: The text with the blocks, without the sections above.
        completed: Whether a line of the reply is ALL_COMPLETED.
    """

    analysis: str
    change: str
    prediction: str
    predictions: tuple[Prediction, ...]
    edits: str
    completed: bool

    @property
    def has_edits(self) -> bool:
        """Tell whether something that looks like an edit block stands in the reply."""
        return bool(re.search(r"^<{5,9}", self.edits, re.MULTILINE))

    def with_said(self, said: dict[str, str]) -> "ReplyParts":
        """The same reply; a section it lacks is taken from the refused one before it."""
        prediction = self.prediction or said.get("prediction", "")
        return replace(
            self,
            analysis=self.analysis or said.get("analysis", ""),
            change=self.change or said.get("change", ""),
            prediction=prediction,
            predictions=tuple(_predictions(prediction)),
        )


def parse_reply(text: str) -> ReplyParts:
    """Take a reply apart; a section that is missing is empty.

    Args:
        text: The reply as the model gave it.

    Returns:
        Its parts. Tags that stand inside a block belong to the file and are left alone.
    """
    head, blocks = _split_at_blocks(text)
    sections: dict[str, str] = {}
    for name in ("analysis", "change", "prediction"):
        head, sections[name] = _take(head, name)
    tail_analysis = ""
    if not sections["analysis"]:
        blocks, tail_analysis = _take(blocks, "analysis") if blocks.endswith("</analysis>\n") else (blocks, "")
    prediction = sections["prediction"]
    return ReplyParts(
        analysis=sections["analysis"] or tail_analysis,
        change=" ".join(sections["change"].split())[:200],
        prediction=prediction,
        predictions=tuple(_predictions(prediction)),
        edits=head + blocks,
        completed=bool(re.search(r"^\W*ALL_COMPLETED\W*$", head, re.MULTILINE)),
    )


def _split_at_blocks(text: str) -> tuple[str, str]:
    """Cut before the line that names the file of the first block, so that tags inside files are never read."""
    found = re.search(r"^<{5,9} SEARCH", text, re.MULTILINE)
    if not found:
        return text, ""
    # The sections come first; what stands between the last of them and the marker belongs to the block.
    last = max(
        (text.rfind(f"</{name}>", 0, found.start()) for name in ("analysis", "change", "prediction")), default=-1
    )
    cut = text.index(">", last) + 1 if last >= 0 else 0
    return text[:cut], text[cut:]


def _take(text: str, name: str) -> tuple[str, str]:
    found = re.search(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
    if not found:
        return text, ""
    return text[: found.start()] + text[found.end() :], found.group(1).strip()


def lines_of(prediction: str) -> list[str]:
    """The lines of a prediction that name a metric, as they were written, without what stands beside them."""
    return [found[0].strip() for found in _LINE.finditer(prediction)]


def _predictions(text: str) -> list[Prediction]:
    made = []
    for found in _LINE.finditer(text):
        low, high = (float(found[name]) if found[name] else None for name in ("low", "high"))
        made.append(Prediction(found["metric"], found["direction"], low, high))
    return made
