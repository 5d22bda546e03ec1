"""All files of a reply change, or none."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from agent.base.errors import AgentError
from agent.edit.store import Change, write_all


def test_several_files_are_written(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    write_all(tmp_path, {"a": Change(b"1", b"2"), "new/b": Change(None, b"3")})
    assert (tmp_path / "a").read_bytes() == b"2"
    assert (tmp_path / "new" / "b").read_bytes() == b"3"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "new"]


def test_a_file_that_changed_meanwhile_stops_everything(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"other")
    with pytest.raises(AgentError, match="changed by another program"):
        write_all(tmp_path, {"a": Change(b"1", b"2"), "b": Change(b"1", b"2"), "sub/c": Change(None, b"3")})
    assert (tmp_path / "a").read_bytes() == b"1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_failure_half_way_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"1")
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if target.name == "b":
            raise OSError(28, "No space left on device", str(target))
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(AgentError, match="No space left"):
        write_all(tmp_path, {"a": Change(b"1", b"2"), "new": Change(None, b"3"), "b": Change(b"1", b"2")})
    assert (tmp_path / "a").read_bytes() == b"1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_permissions_are_kept(tmp_path: Path) -> None:
    script = tmp_path / "run.sh"
    script.write_bytes(b"1")
    script.chmod(0o750)
    write_all(tmp_path, {"run.sh": Change(b"1", b"2")})
    assert stat.S_IMODE(script.stat().st_mode) == 0o750


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"1")
    (tmp_path / "link").symlink_to("real")
    write_all(tmp_path, {"link": Change(b"1", b"2")})
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"2"


@pytest.mark.skipif(os.name != "posix", reason="needs kill")
def test_a_reader_never_sees_a_half_written_file(tmp_path: Path) -> None:
    target = tmp_path / "a"
    contents = {letter * 300_000 for letter in (b"x", b"y")}
    target.write_bytes(b"x" * 300_000)
    script = (
        "import sys; from pathlib import Path; from agent.edit.store import Change, write_all\n"
        "root = Path(sys.argv[1]); a, b = b'x' * 300_000, b'y' * 300_000\n"
        "while True: write_all(root, {'a': Change(a, b)}); a, b = b, a\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) as writer:
        try:
            seen = {target.read_bytes() for _ in range(300)}
        finally:
            writer.kill()
    assert seen <= contents
    assert target.read_bytes() in contents
