"""The figures that `plot.py` claims: each must be there, be readable, and have its numbers beside it."""

import json

import pytest

from agent.base.errors import AgentError
from agent.steps.figures import DRAWN, PNG, check_figures


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "figures.json").write_text(json.dumps({"a.png": "The scores."}))
    (tmp_path / DRAWN).write_text(json.dumps({"a.png": []}))
    (tmp_path / "a.png").write_bytes(PNG + b"0" * 2000)
    (tmp_path / "a.csv").write_text("run,value\nrun_1,0.5\n")
    return tmp_path


def test_a_whole_figure_is_taken(folder):
    assert check_figures(folder) == {"a.png": "The scores."}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("figures.json", "{}", "made no figure"),
        ("figures.json", "[1]", "figures.json is no JSON object"),
        ("figures.json", "{", "figures.json is not JSON"),
        ("figures.json", None, "left no figures/figures.json"),
        ("a.png", None, "missing, empty or no PNG"),
        ("a.png", "not a picture" * 200, "missing, empty or no PNG"),
        ("a.csv", None, "save them as figures/a.csv"),
        ("a.csv", "run,value\n", "save them as figures/a.csv"),
        (DRAWN, '{"a.png": ["it has no label on the x axis"]}', "can't be read: it has no label on the x axis"),
        (DRAWN, "{}", "not saved by matplotlib"),
        (DRAWN, None, "what was seen of it"),
    ],
)
def test_what_is_wrong_is_said(folder, name, content, said):
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(AgentError, match=said):
        check_figures(folder)
