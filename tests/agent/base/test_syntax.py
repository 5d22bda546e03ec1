"""The gates' use of Python's parser, with several campaigns in one process."""

import gc
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent.base.places import TEMPLATE
from agent.base.syntax import expression_tree, literal
from agent.campaign.folder import EXPERIMENT
from agent.gates.canonical import canonical
from agent.gates.protect import breaches


class Rubbish:
    """Something that runs Python where it is collected, in the middle of a parse too, and lets another thread on."""

    def __init__(self):
        self.itself = self

    def __del__(self):
        time.sleep(0)


@pytest.fixture
def littered():
    """Rubbish is collected often."""
    before = gc.get_threshold()
    gc.set_threshold(20)
    yield
    gc.set_threshold(*before)


def test_eight_threads_read_programs_as_one_does(littered):
    source = (TEMPLATE / EXPERIMENT).read_text()
    alone = (canonical(source), breaches(source))

    def read(number):
        Rubbish()
        assert literal(f"[{number}, (1, {{'a': 'b'}})]") == [number, (1, {"a": "b"})]
        assert expression_tree(f"{number} + 1").left.value == number
        return canonical(source), breaches(source)

    with ThreadPoolExecutor(8) as pool:
        assert all(found == alone for found in pool.map(read, range(24)))
