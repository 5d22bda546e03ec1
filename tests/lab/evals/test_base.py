"""Settings, names and what a score is addressed by."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from lab import evals
from lab.errors import LabError
from lab.evals import base
from lab.evals.base import Context, Evaluation, read_settings
from lab.sources import source_hash


@pytest.mark.parametrize("name", evals.TABLE)
def test_every_evaluation_has_the_shape(name: str) -> None:
    module = evals.load(name)
    assert dataclasses.is_dataclass(module.Settings)
    assert all(metric.better in ("higher", "lower", None) for metric in module.METRICS.values())
    assert any(metric.headline for metric in module.METRICS.values())
    assert module.__doc__
    assert "arXiv" in module.__doc__


def test_metrics_are_known_without_the_libraries_that_compute_them(empty_cache: Path) -> None:
    program = "import sys; from lab.evals import metrics; print(metrics()); sys.exit('torch' in sys.modules)"
    first, again = (subprocess.run([sys.executable, "-c", program], capture_output=True, text=True) for _ in range(2))
    assert (first.returncode, again.returncode) == (1, 0), again.stderr
    assert first.stdout == again.stdout == f"{evals.metrics()}\n"


def test_choosing() -> None:
    assert evals.choose(["all"]) == list(evals.TABLE)
    assert evals.choose(["absorption", "core", "absorption"]) == ["absorption", "core"]
    with pytest.raises(LabError, match="unknown evaluation 'cor': choose from core, absorption"):
        evals.choose(["cor"])
    with pytest.raises(LabError, match="no evaluation was named"):
        evals.choose([])


def test_settings_are_defaults_with_overrides() -> None:
    core = evals.load("core")
    assert read_settings(core, "core", {}) == core.Settings()
    assert read_settings(core, "core", {"batch_size": 3}).batch_size == 3
    absorption = evals.load("absorption")
    assert read_settings(absorption, "absorption", {"probe_lr": 1}).probe_lr == 1
    assert read_settings(evals.load("tpp"), "tpp", {"n_values": [2, 5]}).n_values == (2, 5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"batches": 3}, "core.batches: unknown setting; allowed here: batch_size"),
        ({"batch_size": 1.5}, "1.5 is not a int"),
        ({"skip_outliers": 1}, "1 is not a bool"),
        ({"batch_size": True}, "True is not a int"),
    ],
)
def test_a_wrong_setting_is_an_error(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(LabError, match=message):
        read_settings(evals.load("core"), "core", overrides)


@pytest.mark.parametrize("value", [[], ["a"], [2, True], 2, "2"])
def test_a_list_of_settings_is_a_list_of_their_kind(value: object) -> None:
    with pytest.raises(LabError, match=r"evals\.tpp\.n_values: .* is not a"):
        read_settings(evals.load("tpp"), "tpp", {"n_values": value})


def test_the_source_hash_follows_imports_and_ignores_what_only_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = Path.read_text

    def reading(path: Path, **options: str) -> str:
        text = original(path, **options)
        read.append(path.name)
        return text + ("\n# changed" if path.name == changed else "")

    monkeypatch.setattr(Path, "read_text", reading)
    found = {}
    for changed in ("", "core.py", "splice.py", "subject.py", "artifact.py", "progress.py", "words.py"):
        source_hash.cache_clear()
        found[changed] = source_hash("lab.evals.core")
    source_hash.cache_clear()
    assert {"core.py", "base.py", "splice.py", "sums.py", "subject.py", "corpus.py", "artifact.py"} <= set(read)
    for name in ("core.py", "splice.py", "subject.py", "artifact.py"):
        assert found[name] != found[""], name
    assert found["progress.py"] == found["words.py"] == found[""]


def test_a_key_changes_with_settings_text_and_device(tiny_context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    core: Evaluation = evals.load("core")
    settings = read_settings(core, "core", {})
    key = tiny_context.key("core", core, settings)
    assert set(key) == {"evaluator", "settings", "data", "subject", "device", "dtype"}
    assert tiny_context.key("core", core, settings) == key
    other = tiny_context.key("core", core, dataclasses.replace(settings, batch_size=3))
    assert {name for name in key if key[name] != other[name]} == {"settings"}
    text = tiny_context.profile.corpus.model_copy(update={"eval_fraction": 0.3})
    layer = tiny_context.profile.subject.model_copy(update={"layer": 3, "dtype": "bfloat16"})
    ctx = base.Context(tiny_context.profile.model_copy(update={"corpus": text, "subject": layer}), "cpu")
    other = ctx.key("core", core, settings)
    assert {name for name in key if key[name] != other[name]} == {"data", "subject", "dtype"}
