"""Shared by the tests of the models: no real keys, no waiting."""

from __future__ import annotations

import pytest

from agent.base import keys
from agent.models import ModelSettings


@pytest.fixture(autouse=True)
def _no_keys_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENAI_COMPATIBLE_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(keys, "_remembered", set())


@pytest.fixture
def waits() -> list[float]:
    """The waits, in seconds, that a client would have made."""
    return []


@pytest.fixture
def settings(waits: list[float]) -> ModelSettings:
    """Patience that takes no time: the waits are written down instead."""
    return ModelSettings(tries=3, first_wait=1.0, sleep=waits.append, chance=lambda: 0.0)
