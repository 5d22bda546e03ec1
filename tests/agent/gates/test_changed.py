"""Changed code that did not run: what is dead, what may still come, and what rightly stays idle."""

import subprocess
import sys
import textwrap

import pytest

from agent.gates.changed import changed_lines, never_ran, wrote

OLD = """
class Cfg:
    flag = False
    every = 5
cfg = Cfg()

class Model:
    def loss(self, step):
        return step

    def other(self, step):
        return -step

class Idle:
    def loss(self, step):
        return 0

def train(steps):
    total = 0
    for step in range(steps):
        total += Model().loss(step)
    return total

train(4)
"""


def lines_run(source, tmp_path):
    """The lines that coverage sees."""
    script = tmp_path / "script.py"
    script.write_text(source)
    code = (
        "import coverage, runpy; c = coverage.Coverage(data_file=None, config_file=False); c.start();"
        f"runpy.run_path({str(script)!r}); c.stop(); print(c.get_data().lines({str(script)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(eval(done.stdout))


def said(old_part, new_part, tmp_path):
    new = OLD.replace(old_part, textwrap.dedent(new_part) if new_part.startswith("\n") else new_part)
    assert new != OLD
    return never_ran(OLD, new, lines_run(new, tmp_path))


LOOP = "        total += Model().loss(step)\n"
DEAD = {
    "a function nothing calls": (
        "def train",
        "def helper(x):\n    return x + 1\n\ndef train",
        "helper() is never called",
    ),
    "a class nothing makes": (
        "def train",
        "class New:\n    def loss(self, step):\n        return 1\n\ndef train",
        "class New is never used",
    ),
    "behind a flag": (LOOP, LOOP + "        if cfg.flag:\n            total += 1\n", "`cfg.flag` was never true"),
    "after an endless return": (
        "    return total\n",
        "    return total\n    total += 1\n",
        "the lines before always leave",
    ),
    "an empty loop": (LOOP, LOOP + "        for _ in ():\n            total += 1\n", "the loop over `()` was empty"),
}
LATER = {
    "late in training": LOOP + "        if step > 100:\n            total += 1\n",
    "where the data say so": LOOP + "        if total < 0:\n            total += 1\n",
}
IDLE = {
    "a check": LOOP + '        if cfg.flag:\n            raise ValueError("x")\n',
    "an early end": LOOP + "        if total < 0:\n            break\n",
    "the other arm": LOOP.replace("+=", "=")
    + "        if step >= 0:\n            total += 1\n        else:\n            total += 2\n",
    "what an ablation switches off": "        if cfg.flag:\n    " + LOOP,
    "a handler": "        try:\n            total += 1\n        except ValueError:\n            total += 2\n",
}


@pytest.mark.parametrize("name", DEAD)
def test_dead_code_is_named(name, tmp_path):
    old, new, what = DEAD[name]
    (region,) = said(old, new, tmp_path)
    assert what in str(region)
    assert not region.later


@pytest.mark.parametrize("name", LATER)
def test_what_may_still_run_is_told_apart(name, tmp_path):
    (region,) = said(LOOP, LATER[name], tmp_path)
    assert region.later


@pytest.mark.parametrize("name", IDLE)
def test_what_rightly_stays_idle(name, tmp_path):
    assert said(LOOP, IDLE[name], tmp_path) == []


def test_a_part_for_others_is_fine_when_another_part_ran(tmp_path):
    new = OLD.replace("        return step\n", "        return step + 1\n").replace("return 0", "return 1")
    assert never_ran(OLD, new, lines_run(new, tmp_path)) == []


def test_only_a_part_for_others_is_not(tmp_path):
    (region,) = said("return 0", "return 1", tmp_path)
    assert "class Idle is never used" in str(region)


def test_lines_are_counted_in_the_new_file():
    assert changed_lines("a\nb\nc", "a\nx\nb\nc\ny") == {2, 5}


TERMS = """
class SAE:
    def encode(self, x):
        return x

    def auxiliary(self, step):
        return self.scaled(step)

    def scaled(self, step):
        return 2 * step

    def loss(self, step):
        terms = {}
        terms["auxiliary"] = self.auxiliary(step)
        terms["reconstruction"] = step
        return terms
"""
AUXILIARY, RECONSTRUCTION = 14, 15


@pytest.mark.parametrize(
    ("before", "after", "its"),
    [
        ("return x", "return x.relu()", ()),
        ('"auxiliary"] = self', '"auxiliary"] = 0 * self', (AUXILIARY,)),
        ("return 2 * step", "return 0 * step", (AUXILIARY,)),
        ('"reconstruction"] = step', '"reconstruction"] = step.detach()', (RECONSTRUCTION,)),
    ],
)
def test_a_term_is_the_edits_that_wrote_it_or_what_it_calls(before, after, its):
    new = TERMS.replace(before, after)
    assert new != TERMS
    assert [line for line in (AUXILIARY, RECONSTRUCTION) if wrote(TERMS, new, line)] == list(its)
