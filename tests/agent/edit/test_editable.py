"""Names, globs, links, and what lies outside."""

import re
from pathlib import Path

import pytest

from agent.edit import apply_reply
from agent.edit.editable import EditableFiles, clean_name, glob_pattern


@pytest.mark.parametrize(
    "line",
    [
        "src/a.py",
        "`src/a.py`",
        "**src/a.py**",
        "**`src/a.py`**:",
        "### src/a.py",
        "### 1. `src/a.py`",
        "- src/a.py",
        "2) src/a.py",
        "File: src/a.py",
        "filename: `src/a.py`",
        "# src/a.py",
        "// src/a.py",
        "<!-- src/a.py -->",
        "./src/a.py",
        "src\\a.py",
        '"src/a.py".',
    ],
)
def test_names_lose_their_decoration(line: str) -> None:
    assert clean_name(line) == "src/a.py"


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("a.py", "a.py", True),
        ("a.py", "run_1/a.py", False),
        ("*.py", "a.py", True),
        ("*.py", "sub/a.py", False),
        ("**/*.py", "a.py", True),
        ("**/*.py", "x/y/a.py", True),
        ("src/**", "src/x/y", True),
        ("src/**", "other/x", False),
        ("[ab].py", "b.py", True),
        ("[!ab].py", "b.py", False),
        ("?.py", "ab.py", False),
        ("a+b.py", "a+b.py", True),
    ],
)
def test_globs(pattern: str, path: str, fits: bool) -> None:
    assert bool(re.fullmatch(glob_pattern(pattern), path)) == fits


def test_a_link_out_of_the_workspace_may_not_be_edited(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside.py"
    root.mkdir()
    outside.write_text("x = 1\n", encoding="utf-8")
    (root / "a.py").symlink_to(outside)
    reply = "a.py\n<<<<<<< SEARCH\nx = 1\n=======\nx = 2\n>>>>>>> REPLACE\n"
    assert apply_reply(reply, root, ["**"]).blocks[0].code == "NOT EDITABLE"
    assert outside.read_text() == "x = 1\n"


def test_a_link_to_a_forbidden_file_may_not_be_edited(tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text("x = 1\n", encoding="utf-8")
    (tmp_path / "a.py").symlink_to("score.py")
    workspace = EditableFiles(tmp_path, ["a.py"])
    assert not workspace.may_edit("a.py")
    assert EditableFiles(tmp_path, ["*.py"]).may_edit("a.py")


@pytest.mark.parametrize("name", ["../x.py", "/etc/passwd", "a/../../x.py", ".git/config", ".git/hooks/pre-commit"])
def test_nothing_outside_or_in_git_may_be_made(tmp_path: Path, name: str) -> None:
    (tmp_path / "root" / ".git").mkdir(parents=True)
    reply = f"{name}\n<<<<<<< SEARCH\n=======\nx = 2\n>>>>>>> REPLACE\n"
    outcome = apply_reply(reply, tmp_path / "root", ["**"], lint=False)
    assert outcome.blocks[0].code == "NOT EDITABLE"
    assert not list(tmp_path.rglob("*.py"))


def test_an_absolute_path_under_the_root_is_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n", encoding="utf-8")
    reply = f"{tmp_path / 'a.py'}\n<<<<<<< SEARCH\nx = 1\n=======\nx = 2\n>>>>>>> REPLACE\n"
    assert apply_reply(reply, tmp_path, ["a.py"]).applied


def test_a_wrong_name_is_answered_with_near_ones(tmp_path: Path) -> None:
    (tmp_path / "experiment.py").write_text("x = 1\n", encoding="utf-8")
    reply = "experimnet.py\n<<<<<<< SEARCH\nx = 1\n=======\nx = 2\n>>>>>>> REPLACE\n"
    assert "did you mean experiment.py?" in apply_reply(reply, tmp_path, ["experiment.py"]).feedback


@pytest.mark.parametrize("name", ["sub/", "sub", "a.py/b.py"])
def test_a_folder_or_what_lies_in_a_file_cannot_be_made(tmp_path: Path, name: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.py").write_text("x = 1\n", encoding="utf-8")
    reply = f"<<<<<<< SEARCH ./{name}\n=======\nx = 2\n>>>>>>> REPLACE\n"
    outcome = apply_reply(reply, tmp_path, ["**"])
    assert not outcome.applied
    assert outcome.blocks[0].status == "rejected"
