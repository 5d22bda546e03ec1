from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab.progress import Progress, track


def test_nothing_is_shown_without_a_terminal_or_a_file(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SAE_LAB_PROGRESS", raising=False)
    assert list(track([1, 2, 3], "counting")) == [1, 2, 3]
    assert capfd.readouterr() == ("", "")


def test_a_file_tells_a_parent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    monkeypatch.setenv("SAE_LAB_PROGRESS", str(path))
    now = [100.0]
    monkeypatch.setattr("lab.progress.time", SimpleNamespace(monotonic=lambda: now[0]))
    with Progress("counting", 4) as progress:
        assert json.loads(path.read_text()) == {"what": "counting", "done": 0, "total": 4, "eta_seconds": None}
        now[0] += 0.25
        progress.update(2)
        state = json.loads(path.read_text())
        assert state["done"] == 2
        assert state["eta_seconds"] == 0.25, "half is done, so as much is left"
        now[0] += 0.1
        progress.update(1)  # too soon to be written again
        assert json.loads(path.read_text())["done"] == 2
        progress.rename("still counting")
        assert json.loads(path.read_text())["what"] == "still counting"
    assert json.loads(path.read_text())["done"] == 3
    assert [item.name for item in tmp_path.iterdir()] == ["progress.json"]


def test_a_file_that_cannot_be_written_does_not_end_the_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAE_LAB_PROGRESS", str(tmp_path / "none" / "progress.json"))
    assert list(track(iter([1, 2]), "counting", total=2)) == [1, 2]


def test_the_total_is_taken_from_the_items(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    monkeypatch.setenv("SAE_LAB_PROGRESS", str(path))

    def numbers() -> Iterator[int]:
        yield from range(3)

    list(track([7, 8], "sized"))
    assert json.loads(path.read_text())["total"] == 2
    list(track(numbers(), "unsized"))
    assert json.loads(path.read_text()) == {"what": "unsized", "done": 3, "total": None, "eta_seconds": None}


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.delenv("SAE_LAB_PROGRESS", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", screen)
    with Progress("counting", 2) as progress:
        progress.update()
        progress.rename("sheep")
    assert "counting" in screen.getvalue() or "sheep" in screen.getvalue()
