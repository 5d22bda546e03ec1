"""The recorded campaign, unpacked once."""

from pathlib import Path

import pytest

from bench.writeup.cases import Bench


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A real campaign of six runs."""
    return Bench(Path(tmp_path_factory.mktemp("recorded")))
