"""The bibliography that the template ships."""

import re
from pathlib import Path

import pytest

from agent.audit.bibliography import SHIPPED, read_bibliography
from agent.base.errors import AgentError

REQUIRED = {"article": "journal", "inproceedings": "booktitle", "techreport": "institution"}


def test_each_entry_is_whole() -> None:
    entries = read_bibliography(SHIPPED)
    assert len(entries) >= 40
    for entry in entries.values():
        fields = entry.fields
        assert {"title", "author", "year"} <= set(fields), entry.key
        assert re.fullmatch(r"(?:19|20)\d\d", entry.year), entry.key
        if entry.kind in REQUIRED:
            assert fields.get(REQUIRED[entry.kind]), entry.key
        else:
            assert entry.kind == "misc", entry.key
            assert "eprint" in fields or "url" in fields, entry.key
        if "eprint" in fields:
            assert fields["archivePrefix".lower()] == "arXiv", entry.key
            assert re.fullmatch(r"\d{4}\.\d{4,5}", fields["eprint"]), entry.key
            # An arXiv id begins with the year and month of its first version: no later than the venue's year, but for
            # what was sent in at the end of December.
            year, month = 2000 + int(fields["eprint"][:2]), int(fields["eprint"][2:4])
            assert year - (month == 1) <= int(entry.year), entry.key
        assert entry.surnames, entry.key


def test_no_work_stands_there_twice() -> None:
    entries = list(read_bibliography(SHIPPED).values())
    titles = [re.sub(r"\W", "", entry.fields["title"].lower()) for entry in entries]
    prints = [entry.fields["eprint"] for entry in entries if "eprint" in entry.fields]
    assert len(set(titles)) == len(titles)
    assert len(set(prints)) == len(prints)


def test_keys_begin_with_the_first_author_and_hold_the_year() -> None:
    for entry in read_bibliography(SHIPPED).values():
        first = re.sub(r"[^a-z]", "", entry.surnames[0].lower())
        assert any(entry.key.startswith(name) for name in (first, first.removeprefix("ben"), "gemma")), entry.key
        assert entry.year in entry.key, entry.key


@pytest.mark.parametrize(
    "text", ["@misc{a,\n title={x},\n}\n@misc{a,\n title={y},\n}\n", "@misc{a, title={x\n\n@misc{b,\n}"]
)
def test_a_damaged_file_is_said_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.bib"
    path.write_text(text)
    with pytest.raises(AgentError, match=r"a\.bib, line \d"):
        read_bibliography(path)
