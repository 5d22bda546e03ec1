"""The works that a paper may cite, read from BibTeX."""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from agent.base.errors import AgentError
from agent.base.places import LATEX

SHIPPED = LATEX / "references.bib"


@dataclass(frozen=True)
class Entry:
    """One work.

    Args:
        key: What it is cited by.
        kind: `article`, `inproceedings`, `misc` and so on.
        fields: Its fields, lower-case names, braces kept.
    """

    key: str
    kind: str
    fields: dict[str, str]

    @property
    def year(self) -> str:
        """The year, four digits."""
        return self.fields.get("year", "")

    @property
    def surnames(self) -> list[str]:
        """The surnames of the authors, in their order, without braces and accents' commands."""
        names = re.split(r"\s+and\s+", self.fields.get("author", ""))
        plain = [re.sub(r"[{}]|\\['\"`^~=.uvHc]\s*", "", name).strip() for name in names]
        return [name.partition(",")[0].strip() if "," in name else name.split()[-1] for name in plain if name]


def read_bibliography(path: Path) -> dict[str, Entry]:
    """Read a .bib file.

    Args:
        path: The file.

    Returns:
        Its entries by key.

    Raises:
        AgentError: It cannot be read, or an entry is damaged or stands there twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise AgentError(f"cannot read {path}: {error.strerror}") from error
    return dict(_parse(text, path))


@lru_cache(maxsize=4)
def _parse(text: str, path: Path) -> dict[str, Entry]:
    import bibtexparser

    library = bibtexparser.parse_string(text)
    if library.failed_blocks:
        block = library.failed_blocks[0]
        raise AgentError(f"{path}, line {(block.start_line or 0) + 1}: {block.error or 'a damaged entry'}")
    return {
        entry.key: Entry(entry.key, entry.entry_type, {field.key.lower(): str(field.value) for field in entry.fields})
        for entry in library.entries
    }


def bibliography_of(document: Path) -> dict[str, Entry]:
    """The works that a paper may cite: the .bib beside it, else the one that the template ships.

    Args:
        document: The paper.
    """
    beside = sorted(document.parent.glob("*.bib"))
    found: dict[str, Entry] = {}
    for path in beside or [SHIPPED]:
        found.update(read_bibliography(path))
    return found
