"""Only errors that an edit adds count, and each format has its parser."""

import pytest

from agent.edit.gate import added_faults
from agent.edit.store import Change


def added(path: str, before: str | None, after: str, touched: set[int] | None = None) -> list[str]:
    change = Change(None if before is None else before.encode(), after.encode())
    return [fault.code for fault in added_faults({path: change}, lambda _, line: touched is None or line in touched)]


@pytest.mark.parametrize(
    ("before", "after", "codes"),
    [
        ("x = 1\n", "x = (1\n", ["E999"]),
        ("x = 1\n", "x = y\n", ["F821"]),
        ("x = y\n", "a = 0\nx  =  y\n", []),
        ("x = y\nz = 1\n", "x = y\nx = y\n", ["F821"]),
        ("x = y\n", "x = y + 1\n", []),
        (None, "x = y\n", ["F821"]),
        ("x = 1\n", "def f(a, a):\n    pass\n", ["F831"]),
        ("x = 1\n", "x = 1 is 'a'\n", ["F632"]),
        ("x = 1\n", "assert (1, 'message')\n", ["F631"]),
        ("x = 1\n", "for i in (1, 2):\n    pass\ncontinue\n", ["F702"]),
        ("x = 1\n", "def f():\n    print(y)\n    y = 1\n", ["F821"]),
        ("x = 1\n", "import os, sys ;x=1\n", []),
    ],
)
def test_python(before: str | None, after: str, codes: list[str]) -> None:
    assert added("pkg/a.py", before, after) == codes


def test_a_file_that_did_not_parse_is_judged_by_the_new_lines() -> None:
    assert added("a.py", "x = (\nq = y\n", "x = 1\nq = y\n", {1}) == []
    assert added("a.py", "x = (\nq = y\n", "x = z\nq = y\n", {1}) == ["F821"]


@pytest.mark.parametrize(
    ("path", "good", "bad"),
    [
        ("a.json", '{"a": 1}', '{"a": 1,}'),
        ("a.ipynb", '{"cells": []}', '{"cells": [}'),
        ("a.jsonl", '{"a": 1}\n{"b": 2}\n', '{"a": 1}\n{"b": }\n'),
        ("a.toml", "a = 1\n", "a = \n"),
        ("a.yaml", "a: 1\n", "a: [1\n"),
        ("a.ini", "[a]\nb = 1\n", "b = 1\n"),
        ("a.xml", "<a><b/></a>", "<a><b></a>"),
        ("a.j2", "{% if a %}b{% endif %}", "{% if a %}b"),
    ],
)
def test_other_formats(path: str, good: str, bad: str) -> None:
    assert len(added(path, good, bad)) == 1
    assert added(path, bad, bad + "\n") == []
    assert added(path, bad, good) == []
    assert len(added(path, None, bad)) == 1


def test_settings_of_the_folder_do_not_count(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(tmp_path))
    with open("setup.cfg", "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write("[flake8]\nignore = F821\n")
    assert added("a.py", "x = 1\n", "x = y  # noqa\n") == ["F821"]
