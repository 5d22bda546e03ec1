"""The replies of a model that writes the bench's clean paper, section by section."""

import json
import re
from pathlib import Path

from bench.writeup.cases import HERE

PAPER = (HERE / "paper.tex").read_text(encoding="utf-8")
ORDER = ("abstract", "introduction", "background", "method", "setup", "results", "related", "conclusion")
REVIEW = {
    "summary": "A penalty is tried at small scale.",
    "strengths": ["honest"],
    "weaknesses": ["small"],
    "questions": ["More seeds?"],
    "soundness": 3,
    "overall": 4,
    "decision": "reject",
}


def texts() -> dict[str, str]:
    """The clean paper's sections, as a model would write them."""
    body = PAPER[PAPER.index("\\section{Introduction}") : PAPER.index("\\bibliographystyle")]
    found = re.split(r"(?=\\section\{)", body)[1:]
    title = re.search(r"\\title\{[^{}]*\}", PAPER)
    abstract = re.search(r"(?s)\\begin\{abstract\}\n(.*?)\n\\end\{abstract\}", PAPER)
    assert title
    assert abstract
    return dict(zip(ORDER, [f"{title[0]}\n{abstract[1]}", *(text.strip() for text in found)], strict=True))


def block(name: str, new: str, old: str = "") -> str:
    """A reply with one edit block."""
    search = f"{old}\n" if old else ""
    return f"sections/{name}.tex\n<<<<<<< SEARCH\n{search}=======\n{new}\n>>>>>>> REPLACE\n"


def replies(before: dict[str, list[str]] | None = None, after: list[str] | None = None) -> list[str]:
    """All replies of a paper, in their order.

    Args:
        before: For a section, replies that come before its good draft.
        after: Replies between the whole and the review: those that mend.
    """
    made = []
    for name, text in texts().items():
        made += [*(before or {}).get(name, []), block(name, text), "<critique>Fine.</critique>\nNO_CHANGE\n"]
    return [*made, *["NO_CHANGE"] * len(ORDER), *(after or []), json.dumps(REVIEW)]


def script(path: Path, lines: list[str]) -> str:
    """A script file, as a value of `--model`."""
    path.write_text("".join(json.dumps({"reply": line}) + "\n" for line in lines), encoding="utf-8")
    return f"replay:{path}"
