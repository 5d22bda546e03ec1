"""Works that the shipped bibliography lacks: searched in OpenAlex, kept on disk, cited only as what a search returned.

Off unless asked for. Source of the protocol: OpenAlex's works search, through the client pyalex.
"""

import json
import re
import time
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.audit.bibliography import read_bibliography
from agent.base.errors import AgentError
from agent.base.files import write_atomically

CACHE = "citations.json"
RESULTS = 5
TRIES = 4
BUSY = (429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Record:
    """One work as a search returned it."""

    key: str
    title: str
    authors: tuple[str, ...]
    year: int
    venue: str
    url: str

    def bibtex(self) -> str:
        """The record as an entry."""
        fields = {"title": f"{{{self.title}}}", "author": " and ".join(self.authors), "year": str(self.year)}
        fields |= {"howpublished": self.venue} if self.venue else {}
        fields |= {"url": self.url} if self.url else {}
        lines = "".join(f"  {name} = {{{_plain(value)}}},\n" for name, value in fields.items())
        return f"@misc{{{self.key},\n{lines}}}\n"


class Library:
    """Searches works and adds what is found to a paper's bibliography.

    Args:
        folder: The paper's; what a search returned is kept there.
        url: Where OpenAlex answers; its own address when empty.
        wait: Seconds before the second try of a search; doubled for each further one.
    """

    def __init__(self, folder: Path, url: str = "", wait: float = 1.0) -> None:
        self.folder = folder
        self.url = url
        self.wait = wait
        self._known: dict[str, list[dict[str, Any]]] = {}
        if (folder / CACHE).is_file():
            try:
                self._known = json.loads((folder / CACHE).read_text(encoding="utf-8"))
            except json.JSONDecodeError as error:
                raise AgentError(f"{folder / CACHE} is damaged ({error}); remove it") from error

    def search(self, query: str) -> str:
        """Search works, and make what is found citable.

        Args:
            query: A few words.

        Returns:
            The records with their keys, for the model; or one line that says why there are none.
        """
        query = " ".join(query.split())[:200]
        if query not in self._known:
            try:
                self._known[query] = self._ask(query)
            except ConnectionError as error:
                return f"The search gave nothing: {error}. Cite from the keys that are there."
            write_atomically(self.folder / CACHE, json.dumps(self._known, indent=1, ensure_ascii=False) + "\n")
        records = [record for work in self._known[query] if (record := _record(work))]
        self._add(records)
        if not records:
            return f"Nothing was found for '{query}'."
        lines = [f"- {r.key}: {', '.join(r.authors[:3])} ({r.year}). {r.title}. {r.venue}" for r in records]
        return f"Found for '{query}', and citable now:\n" + "\n".join(lines)

    def _ask(self, query: str) -> list[dict[str, Any]]:
        import pyalex
        import requests

        base = self.url.rstrip("/")

        class Works(pyalex.Works):
            @property
            def url(self) -> str:
                own = str(super().url)
                return f"{base}{own[own.index('/works') :]}" if base else own

        wait = self.wait
        for tried in range(1, TRIES + 1):
            try:
                works = Works().search(query).get(per_page=RESULTS)
                return [_kept(work) for work in works]
            except requests.HTTPError as error:
                status = error.response.status_code if error.response is not None else 0
                if status not in BUSY or tried == TRIES:
                    raise ConnectionError(f"the server answered {status}") from error
                after = error.response.headers.get("Retry-After", "") if error.response is not None else ""
                time.sleep(max(wait, min(float(after), 60.0)) if after.isdigit() else wait)
            except requests.RequestException as error:
                # Without a network there is nothing to wait for.
                raise ConnectionError("no connection to the server") from error
            except pyalex.api.QueryError as error:
                raise ConnectionError(f"the server refused the query: {error}") from error
            wait *= 2
        raise ConnectionError("the server stayed busy")

    def _add(self, records: list[Record]) -> None:
        path = self.folder / "references.bib"
        known = read_bibliography(path)
        titles = {_bare(entry.fields["title"]) for entry in known.values() if "title" in entry.fields}
        new = [r for r in records if r.key not in known and _bare(r.title) not in titles]
        if new:
            added = "".join(f"\n{record.bibtex()}" for record in new)
            write_atomically(path, path.read_text(encoding="utf-8") + added)


def _kept(work: Any) -> dict[str, Any]:
    """The fields of a work that a citation needs."""
    source = ((work.get("primary_location") or {}).get("source") or {}).get("display_name") or ""
    names = [(author.get("author") or {}).get("display_name") or "" for author in work.get("authorships") or []]
    return {
        "title": work.get("display_name") or work.get("title") or "",
        "authors": [name for name in names if name],
        "year": work.get("publication_year"),
        "venue": source,
        "url": work.get("doi") or work.get("id") or "",
    }


def _record(work: dict[str, Any]) -> Record | None:
    """A work as a record; None where title, authors or year are missing."""
    title, authors, year = work["title"], work["authors"], work["year"]
    if not (title and authors and isinstance(year, int)):
        return None
    word = next(
        (w for w in re.findall(r"[a-z]{4,}", _ascii(title).lower()) if w not in ("with", "from", "that")), "work"
    )
    surname = re.sub(r"[^a-z]", "", _ascii(authors[0].split()[-1]).lower()) or "anon"
    return Record(f"{surname}{year}{word}", title, tuple(authors), year, work["venue"], work["url"])


def _ascii(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def _bare(text: str) -> str:
    return re.sub(r"\W", "", text).lower()


def _plain(text: str) -> str:
    """A field's text without what BibTeX or LaTeX would take for a command."""
    inner = text[1:-1] if text.startswith("{") and text.endswith("}") else text
    inner = re.sub(r"[{}\\]", "", inner)
    inner = re.sub(r"(?<!\\)([&%#$_])", r"\\\1", inner) if "://" not in inner else inner
    return f"{{{inner}}}" if inner != text and text.startswith("{") else inner
