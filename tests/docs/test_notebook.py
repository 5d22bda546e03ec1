"""The notebook of docs/: what is shown in it, and that it runs."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.agent.campaigns import ROOT, TINY

NOTEBOOK = ROOT / "docs" / "train_and_score.ipynb"


def kinds(notebook):
    """For each cell of code, the kinds of things that it shows."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [
        sorted({kind for output in cell.outputs for kind in (output.get("data") or [output.name])}) for cell in code
    ]


def test_it_was_executed_from_top_to_bottom_and_names_no_machine():
    notebook = nbformat.read(NOTEBOOK, 4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not any(output.output_type == "error" for cell in code for output in cell.outputs)
    shown = "\n".join(output.get("text", "") for cell in code for output in cell.outputs)
    assert not re.search(r"/(home|root|tmp|usr|opt|Users)/", shown)
    assert "explained_variance" in shown


def test_it_uses_public_names_of_the_lab_and_nothing_of_the_agent():
    source = "\n".join(cell.source for cell in nbformat.read(NOTEBOOK, 4).cells if cell.cell_type == "code")
    assert "agent" not in source
    assert not re.search(r"import _|\._", source)


@pytest.mark.slow
def test_it_runs_and_shows_the_same_kinds_of_things(tmp_path, monkeypatch):
    monkeypatch.setenv("SAE_LAB_PROFILE", str(TINY))
    notebook = nbformat.read(NOTEBOOK, 4)
    shown = kinds(notebook)
    for cell in notebook.cells:
        cell.pop("outputs", None)
    NotebookClient(
        notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": Path(tmp_path)}}
    ).execute()
    assert kinds(notebook) == shown
    texts = {output.text for cell in notebook.cells for output in cell.get("outputs", []) if output.get("text")}
    found = next(re.search(r"explained_variance +(\S+)", text) for text in texts if "delta_ce" in text)
    assert 0 < float(found[1]) < 1
