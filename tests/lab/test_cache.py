from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import cache
from lab.errors import LabError
from lab.settings import SubjectSettings

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def writing(text: str, seconds: float = 0.0) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        (folder / "a.txt").write_text(text[:1])
        time.sleep(seconds)
        (folder / "a.txt").write_text(text)

    return build


def test_the_root_is_the_environments_or_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAE_LAB_CACHE", str(tmp_path / "x"))
    assert cache.root() == tmp_path / "x"
    monkeypatch.delenv("SAE_LAB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert cache.root().name == "sae-scientist"


@given(plain)
def test_a_fingerprint_survives_json(value: object) -> None:
    again = json.loads(json.dumps(value))
    assert cache.fingerprint(value) == cache.fingerprint(again)


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_a_fingerprint_ignores_the_order_of_names_only(value: dict[str, int]) -> None:
    backwards = dict(reversed(value.items()))
    assert cache.fingerprint(value) == cache.fingerprint(backwards)
    name = next(iter(value))
    assert cache.fingerprint(value) != cache.fingerprint({**value, name: value[name] + 1})


def test_a_fingerprint_takes_the_projects_values() -> None:
    @dataclass
    class Point:
        x: int
        y: tuple[float, ...]

    settings = SubjectSettings(source="hub", name="n", layer=1)
    values = [Point(1, (2.0,)), settings, Path("/a"), {3, 1, 2}, np.float32(0.5), np.arange(3)]
    assert len({cache.fingerprint(value) for value in values}) == len(values)
    assert cache.fingerprint({"s": settings}) == cache.fingerprint({"s": settings.model_dump()})
    with pytest.raises(TypeError, match="no stable form for a object"):
        cache.fingerprint([object()])


def test_an_entry_is_built_once_per_key(empty_cache: Path) -> None:
    first = cache.entry("things", {"n": 1}, writing("one"))
    assert (first / "a.txt").read_text() == "one"
    assert json.loads((first / "key.json").read_text()) == {"n": 1}
    assert cache.entry("things", {"n": 1}, writing("other")) == first
    assert (first / "a.txt").read_text() == "one"
    assert cache.entry("things", {"n": 2}, writing("two")) != first
    assert first.is_relative_to(empty_cache / "things")


def test_a_failed_build_leaves_nothing(empty_cache: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise LabError("no")

    with pytest.raises(LabError, match="no"):
        cache.entry("things", {}, build)
    assert list(cache.entries()) == []
    assert not [path for path in (empty_cache / "things").iterdir() if path.is_dir()]
    assert (cache.entry("things", {}, writing("good")) / "a.txt").read_text() == "good"


def test_a_half_written_folder_is_made_anew(empty_cache: Path) -> None:
    folder = cache.entry("things", {}, writing("good"))
    (folder / "key.json").unlink()
    (folder / "a.txt").write_text("bad")
    assert (cache.entry("things", {}, writing("again")) / "a.txt").read_text() == "again"


def _build_slowly(text: str, seconds: float = 1.0) -> None:
    cache.entry("things", {}, writing(text, seconds))


def wait_for_a_build(folder: Path) -> None:
    deadline = time.monotonic() + 20
    while not list((folder / "things").glob(".*.part-*/a.txt")) and time.monotonic() < deadline:
        time.sleep(0.02)


def test_others_wait_for_the_builder(empty_cache: Path) -> None:
    workers = [multiprocessing.Process(target=_build_slowly, args=(text,)) for text in ("first", "second")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0, 0]
    text = (cache.entry("things", {}, writing("third")) / "a.txt").read_text()
    assert text in ("first", "second")
    assert len(list((empty_cache / "things").glob("[!.]*"))) == 1


def test_who_waits_says_so(empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = multiprocessing.Process(target=_build_slowly, args=("first", 2.0))
    worker.start()
    wait_for_a_build(empty_cache)
    monkeypatch.setenv("SAE_LAB_PROGRESS", str(tmp_path / "progress.json"))
    folder = cache.entry("things", {}, writing("second"))
    worker.join(20)
    assert (folder / "a.txt").read_text() == "first"
    said = json.loads((tmp_path / "progress.json").read_text())["what"]
    assert said == "waiting for another process that makes the things cache"


def test_a_killed_build_is_never_used(empty_cache: Path) -> None:
    worker = multiprocessing.Process(target=_build_slowly, args=("killed",))
    worker.start()
    wait_for_a_build(empty_cache)
    assert worker.pid
    os.kill(worker.pid, signal.SIGKILL)
    worker.join(10)
    assert list(cache.entries()) == []
    assert (cache.entry("things", {}, writing("whole")) / "a.txt").read_text() == "whole"
    assert not list((empty_cache / "things").glob(".*.part-*"))


def test_too_full_a_disk_is_told_before_the_start(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**9))
    with pytest.raises(LabError, match=r"things cache needs 5\.1 GB and .* has 1\.0 GB free: free some"):
        cache.entry("things", {}, writing("x"), needs_bytes=5 * 10**9)
    assert not list((empty_cache / "things").glob("*/"))


def test_a_disk_that_fills_up_is_one_clear_line(empty_cache: Path) -> None:
    def build(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(LabError, match="no space left while writing things to"):
        cache.entry("things", {}, build)


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAE_LAB_CACHE", str(tmp_path / "file" / "cache"))
    (tmp_path / "file").write_text("")
    with pytest.raises(LabError, match=r"cannot write the cache folder .*: set SAE_LAB_CACHE"):
        cache.entry("things", {}, writing("x"))


def test_json_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    cache.write_json(path, {"x": (1, 2)})
    with pytest.raises(TypeError):
        cache.write_json(path, {"x": object()})
    assert cache.read_json(path) == {"x": [1, 2]}
    assert [item.name for item in tmp_path.iterdir()] == ["a.json"]
    path.write_text("{")
    with pytest.raises(LabError, match=r"a\.json is damaged"):
        cache.read_json(path)
    with pytest.raises(LabError, match="cannot read"):
        cache.read_json(tmp_path / "none.json")


def test_the_command_line(empty_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cache.main(["size"]) == 0
    assert capsys.readouterr().out == f"0 entries, 0.00 MB in {empty_cache}\n"
    for number in range(2):
        cache.entry("things", {"n": number}, writing("x" * 10_000))
    other = cache.entry("others", {}, writing("y"))
    cache.main(["list"])
    assert capsys.readouterr().out.count("things ") == 2
    cache.main(["size"])
    assert "things           0.02 MB" in capsys.readouterr().out
    cache.main(["prune", "--unused-days", "1"])
    assert "deleted 0 entries" in capsys.readouterr().out
    cache.main(["prune", "--kind", "things"])
    assert "deleted 2 entries, 0.02 MB" in capsys.readouterr().out
    assert [item.path for item in cache.entries()] == [other]


def test_pruning_takes_leftovers_and_spares_what_is_being_built(empty_cache: Path) -> None:
    leftover = empty_cache / "things" / ".0123.part-abc"
    leftover.mkdir(parents=True)
    worker = multiprocessing.Process(target=_build_slowly, args=("kept",))
    worker.start()
    wait_for_a_build(empty_cache)
    assert cache.prune() == []
    worker.join(20)
    assert worker.exitcode == 0
    assert not leftover.exists()
    assert len(list(cache.entries())) == 1
