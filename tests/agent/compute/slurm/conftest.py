"""A cluster for the tests of a file, where one can be started."""

from collections.abc import Iterator

import pytest

from tests.agent.compute.slurm.cluster import Cluster, missing, running


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if problem := missing():
        pytest.skip(problem)
    with running() as one:
        yield one
