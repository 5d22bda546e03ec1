"""Searching works: only what a search returned can be cited."""

import json
import shutil
from pathlib import Path

import pytest

from agent.audit.bibliography import SHIPPED, read_bibliography
from agent.writeup.__main__ import main
from agent.writeup.citations import CACHE, Library
from bench.writeup.cases import Bench
from tests.agent.writeup.openalex import WORK, OpenAlex
from tests.agent.writeup.papers import block, replies, script, texts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(SHIPPED, tmp_path)
    return tmp_path


def test_what_is_found_can_be_cited_and_is_kept(folder: Path) -> None:
    with OpenAlex() as server:
        said = Library(folder, server.url).search("sparse  dictionaries")
        assert "muller2023sparse: Ana Müller, Bo Li (2023)" in said
        assert "No year" not in said
        assert Library(folder, server.url).search("sparse dictionaries") == said
        assert server.queries == ["sparse dictionaries"]
    entry = read_bibliography(folder / "references.bib")["muller2023sparse"]
    assert entry.surnames == ["Müller", "Li"]
    assert entry.fields["url"] == WORK["doi"]
    assert "\\&" in entry.fields["title"]
    assert len(read_bibliography(folder / "references.bib")) == len(read_bibliography(SHIPPED)) + 1
    assert json.loads((folder / CACHE).read_text())["sparse dictionaries"][0]["year"] == 2023


def test_a_busy_server_is_asked_again_and_a_broken_one_is_not(folder: Path) -> None:
    with OpenAlex([429, 503]) as server:
        assert "citable now" in Library(folder, server.url, wait=0.01).search("dictionaries")
        assert len(server.queries) == 3
    with OpenAlex([429] * 9) as server:
        said = Library(folder, server.url, wait=0.01).search("features")
        assert "answered 429" in said
        assert len(server.queries) == 4
    with OpenAlex([404]) as server:
        assert "answered 404" in Library(folder, server.url, wait=0.01).search("latents")
        assert len(server.queries) == 1
    assert list(json.loads((folder / CACHE).read_text())) == ["dictionaries"]


def test_without_a_network_the_search_says_so_at_once(folder: Path) -> None:
    with OpenAlex() as server:
        url = server.url
    assert "no connection" in Library(folder, url, wait=9.0).search("dictionaries")
    assert (folder / "references.bib").read_text() == SHIPPED.read_text()


def test_the_model_can_search_and_cite_what_it_found(recorded: Bench, tmp_path: Path) -> None:
    good = texts()["related"]
    cites = block("related", f"{good}\nDictionaries \\cite{{muller2023sparse}} are older.")
    lines = replies({"related": ["<search>sparse dictionaries</search>"]})
    lines[lines.index(block("related", good))] = cites
    model = script(tmp_path / "script.jsonl", lines)
    writeups = str(tmp_path / "writeups")
    with OpenAlex() as server:
        options = ["--writeups", writeups, "--no-compile", "--citations", server.url]
        assert main([str(recorded.folder), "--model", model, *options]) == 0
        assert server.queries == ["sparse dictionaries"]
    paper = tmp_path / "writeups" / recorded.folder.name
    assert "\\cite{muller2023sparse}" in (paper / "paper.tex").read_text()
    assert "muller2023sparse" in read_bibliography(paper / "references.bib")


def test_a_key_that_no_search_returned_is_refused(recorded: Bench, tmp_path: Path) -> None:
    good = texts()["related"]
    invented = block("related", f"{good}\nSee \\cite{{muller2023sparse}}.")
    model = script(tmp_path / "script.jsonl", replies({"related": [invented]}))
    folder = str(tmp_path / "writeups")
    assert main([str(recorded.folder), "--model", model, "--writeups", folder, "--no-compile"]) == 0
    paper = tmp_path / "writeups" / recorded.folder.name
    lines = [json.loads(line) for line in (paper / "transcript.jsonl").read_text().splitlines()]
    asked = [line["request"]["prompt"] for line in lines if line["purpose"] == "writeup_draft_related"]
    assert "the bibliography has no 'muller2023sparse'" in asked[1]
    assert "<search>" not in asked[0]
