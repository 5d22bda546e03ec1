"""The command line, as a process."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPLY = "a.py\n<<<<<<< SEARCH\nx = 1\n=======\nx = 2\n>>>>>>> REPLACE\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "a.py").write_text("x = 1\n", encoding="utf-8")
    (tmp_path / "reply.md").write_text(REPLY, encoding="utf-8")
    return folder


def run(*words: str | Path, text: str = "") -> tuple[int, dict[str, Any], str]:
    command = [sys.executable, "-m", "agent.edit", *map(str, words)]
    ran = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
    return ran.returncode, json.loads(ran.stdout) if ran.stdout else {}, ran.stderr.decode()


def test_a_reply_is_applied(root: Path) -> None:
    code, out, _ = run("--root", root, "--editable", "a.py", root.parent / "reply.md")
    assert code == 0
    assert out["applied"]
    assert out["blocks"] == [
        {"index": 1, "path": "a.py", "status": "applied", "tier": "exact", "reason": "", "lines": [1, 1]}
    ]
    assert (out["lint"], out["feedback"]) == ([], "")
    assert (root / "a.py").read_text() == "x = 2\n"
    code, out, _ = run("--root", root, root.parent / "reply.md")
    assert (code, out["applied"], out["blocks"][0]["status"]) == (0, True, "already")


def test_standard_input_and_a_dry_run(root: Path) -> None:
    code, out, _ = run("--root", root, "--dry-run", "-", text=REPLY)
    assert (code, out["applied"]) == (0, True)
    assert (root / "a.py").read_text() == "x = 1\n"


def test_a_rejected_block_gives_1_and_its_reason(root: Path) -> None:
    code, out, _ = run("--root", root, "--editable", "b.py", "c/*.py", "--no-lint", "-", text=REPLY)
    assert (code, out["applied"], out["blocks"][0]["status"]) == (1, False, "rejected")
    assert out["blocks"][0]["reason"].startswith("NOT EDITABLE: a.py")
    assert "NOT EDITABLE" in out["feedback"]


def test_lint_can_be_turned_off(root: Path) -> None:
    broken = REPLY.replace("x = 2", "x = (2")
    code, out, _ = run("--root", root, "-", text=broken)
    assert (code, out["applied"]) == (1, False)
    assert "E999" in out["lint"][0]
    assert (root / "a.py").read_text() == "x = 1\n"
    assert run("--root", root, "--no-lint", "-", text=broken)[0] == 0


@pytest.mark.parametrize(
    "words",
    [[], ["-"], ["--root", "nowhere", "-"], ["--root", ".", "no_such_reply.md"], ["--root", ".", "--what", "-"]],
)
def test_a_wrong_call_gives_2(words: list[str]) -> None:
    code, out, error = run(*words)
    assert (code, out) == (2, {})
    assert "error: " in error


def test_bytes_that_are_no_utf_8_never_become_other_characters(root: Path) -> None:
    reply = REPLY.encode().replace(b"x = 2", b"x = '\xe9'")
    command = [sys.executable, "-m", "agent.edit", "--root", str(root), "-"]
    ran = subprocess.run(command, input=reply, capture_output=True, check=False)
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["blocks"][0]["reason"].startswith("ENCODING")
    assert (root / "a.py").read_text() == "x = 1\n"


def test_the_engine_imports_nothing_heavy() -> None:
    script = (
        "import sys, agent.edit; print([m for m in ('torch', 'numpy', 'git', 'flake8', 'yaml') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
