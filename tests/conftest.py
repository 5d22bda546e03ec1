"""Parts that many tests share. The converted model lies in the cache (SAE_LAB_CACHE), so it is made once a machine."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.settings import Profile, load_profile

if TYPE_CHECKING:
    from lab.activations import ActivationStore
    from lab.corpus import Corpus
    from lab.subject import Subject

# Test processes that share the cores would slow each other down by more than their threads gain.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

TINY = Path(__file__).parent / "profiles" / "tiny.toml"
# A test is slow that runs a campaign, loads the language model or has a cluster, which its fixtures tell; so are the
# modules that start many processes, or train and export SAEs by themselves.
SLOW_FIXTURES = {"prepared", "tiny_subject", "tiny_store", "cluster"}
SLOW_MODULES = (
    *("agent/compute/test_sandbox", "agent/compute/test_local", "agent/edit/aider", "agent/edit/test_corpus"),
    *("agent/edit/test_properties", "agent/report/test_review_in_chromium", "agent/test_additions"),
    *("agent/test_keys_stay", "agent/test_recorded", "agent/test_scripted_paper", "agent/test_unkillable"),
    *("agent/test_wheel", "agent/writeup/test_writeup", "bench", "docs", "lab/evals", "lab/test_adopt"),
    *("lab/test_artifact", "lab/test_bad_input", "lab/test_baselines", "lab/test_compiler", "lab/test_corpus"),
    *("lab/test_evaluate", "lab/test_exported", "lab/test_foreign", "lab/test_grid", "lab/test_meter"),
    *("lab/test_smoke", "lab/test_subject", "lab/test_training", "lab/test_watch", "templates"),
)
# They begin early, so that no process is left with one of them while the others have nothing to do.
LONGEST = (
    *("agent/test_unkillable", "agent/compute/slurm/test_campaigns", "agent/steps/test_repeat"),
    *("agent/steps/test_match", "agent/cli/test_side_by_side", "agent/test_keys_stay"),
    *("lab/evals/test_unlearning", "lab/evals/test_ravel"),
)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what `make test-fast` does without being imported: the libraries of the laboratory take seconds."""
    return True if config.getoption("markexpr") == "not slow" and _is_slow(collection_path) else None


@cache
def _is_slow(path: Path) -> bool:
    module = _module(path)
    return path.is_file() and any(module == name or module.startswith(f"{name}/") for name in SLOW_MODULES)


def _module(path: Path) -> str:
    return path.relative_to(Path(__file__).parent).with_suffix("").as_posix()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make test-fast` leaves out, and put the files of tests in an order in which no process waits long.

    One process makes the scripted campaign at once, while the others have what does not need it, longest first.
    """
    for item in items:
        known = SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ()))
        if known or _is_slow(item.path):
            item.add_marker("slow")
    waiting = {item.path for item in items if "campaign" in getattr(item, "fixturenames", ())}
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    first = next((item.path for item in items if item.path in waiting), None)
    order = {
        path: (path != first, path in waiting, _module(path) not in LONGEST, path not in slow)
        for path in {item.path for item in items}
    }
    items.sort(key=lambda item: order[item.path])


@pytest.fixture(scope="session")
def tiny_profile_path() -> Path:
    """The profile file of the tests: the real embedded model, cut early, with little text."""
    return TINY


@pytest.fixture(scope="session")
def tiny_profile() -> Profile:
    """The profile of the tests, read."""
    return load_profile(str(TINY))


@pytest.fixture(scope="session")
def tiny_subject(tiny_profile: Profile) -> Subject:
    """The subject model of the tests' profile, converted on the first use of a machine."""
    from lab.subject import load_subject

    return load_subject(tiny_profile.subject, "cpu")


@pytest.fixture(scope="session")
def tiny_corpus(tiny_profile: Profile) -> Corpus:
    """The texts of the tests' profile, read once."""
    from lab.corpus import Corpus

    return Corpus(tiny_profile.corpus)


@pytest.fixture(scope="session")
def tiny_store(tiny_profile: Profile, tiny_subject: Subject) -> ActivationStore:
    """The activations of the tests' profile."""
    from lab.activations import open_store

    return open_store(tiny_profile, tiny_subject)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SAE_LAB_CACHE", str(folder))
    return folder
