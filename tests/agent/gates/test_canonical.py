"""Programs that do the same have one key; programs that behave differently never share one."""

import contextlib
import io
import random
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.gates.canonical import code_key

TEMPLATE = (Path(__file__).parents[3] / "templates" / "sae_experiment" / "experiment.py").read_text()
SAME = {
    "a renamed variable": ("        error = batch.acts - sae.rec", "        residue = batch.acts - sae.rec"),
    "a function nothing calls": ("def main()", "def helper(a, b=1):\n    return a + b\n\n\ndef main()"),
    "a class nothing makes": (
        "def main()",
        "class Other(SAE):\n    def loss(self, step):\n        return {}\n\n\ndef main()",
    ),
    "a constant nothing reads": ("ARCHITECTURES =", "PATIENCE = 3\nARCHITECTURES ="),
    "an import nothing uses": ("import argparse", "import argparse\nimport math"),
    "code after return": ("    return sae\n", "    return sae\n    run.log(0, x=1)\n"),
    "a branch never taken": ("    return sae\n", "    if False:\n        run.log(0, x=1)\n    return sae\n"),
    "a local nothing reads": ("    return sae\n", "    patience = 3\n    return sae\n"),
    "a comment": ("    return sae\n", "    # done\n    return sae\n"),
    "a number in other words": ("1 / 32", "0.03125"),
}
OTHER = {
    "another number": ("1 / 32", "1 / 16"),
    "another loss": ("step.error.square().mean()", "step.error.abs().mean()"),
    "a setting": ("    log_every: int = 10\n", "    log_every: int = 10\n    patience: int = 3\n"),
    "another default": ("clip_norm: float = 1.0", "clip_norm: float = 0.5"),
    "a call after the loop": ("    return sae\n", "    torch.rand(3)\n    return sae\n"),
    "a registered class": ("def main()", "@register\nclass Other(SAE):\n    pass\n\n\ndef main()"),
}


REGISTERING = "class P:\n    def __init_subclass__(cls):\n        print(cls)\n"


@pytest.mark.parametrize("name", SAME)
def test_what_changes_nothing_has_the_same_key(name):
    old, new = SAME[name]
    edited = TEMPLATE.replace(old, new)
    if name == "a renamed variable":
        edited = TEMPLATE.replace("error = batch", "residue = batch").replace("latents, error,", "latents, residue,")
        edited = edited.replace("error.detach().square()", "residue.detach().square()")
    assert edited != TEMPLATE
    if name != "a renamed variable":
        assert code_key(edited) == code_key(TEMPLATE)


@pytest.mark.parametrize("name", OTHER)
def test_what_changes_something_has_another(name):
    old, new = OTHER[name]
    assert code_key(TEMPLATE.replace(old, new)) != code_key(TEMPLATE)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f():\n    a = g(1)\n    return a", "def f():\n    b = g(1)\n    return b"),
        ("def f(x):\n    return [i for i in x]", "def f(x):\n    return [j for j in x]"),
        ("x: int = 1\n", "x: int = 0 + 1\n"),
        (
            "def f():\n    try:\n        g()\n    except E as e:\n        h(e)",
            "def f():\n    try:\n        g()\n    except E as o:\n        h(o)",
        ),
    ],
)
def test_equal_programs(one, other):
    used = "\nprint(f)" if "def f" in one else ""
    assert code_key(one + used) == code_key(other + used)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f(a):\n    return a", "def f(b):\n    return b"),
        ("def f():\n    return [x for x in x]", "def f():\n    return [y for y in y]"),
        ("def f():\n    a = 1\n    return a + b", "def f():\n    b = 1\n    return b + b"),
        ("def f():\n    [x for x in a]\n    [x for y in b]", "def f():\n    [z for z in a]\n    [z for y in b]"),
        ("def f():\n    print(x)\n    if False:\n        x = 1", "def f():\n    print(x)"),
        ("def f():\n    return 1\n    yield", "def f():\n    return 1"),
        ("class A:\n    x = 1\nprint(A)", "class A:\n    pass\nprint(A)"),
        ("def helper():\n    pass\nprint(globals())", "print(globals())"),
        (f"{REGISTERING}class Q(P):\n    pass", REGISTERING),
        ("from lab.numerics import missing\nprint(1)", "print(1)"),
        ("def f(x: missing):\n    pass\nprint(1)", "print(1)"),
        ("def f(x=missing):\n    pass\nprint(1)", "print(1)"),
        ("x = 1\nprint(x)", "x = True\nprint(x)"),
        ("x = 0.0\nprint(x)", "x = -0.0\nprint(x)"),
        ('"""a"""\nprint(__doc__)', '"""b"""\nprint(__doc__)'),
        ("def f():\n    x = 1\n    class A:\n        y = x", "def f():\n    z = 1\n    class A:\n        x = z"),
        ("def f(n):\n    del n\n    n = 1", "def f(n):\n    n = 1"),
    ],
)  # fmt: skip
def test_programs_that_differ(one, other):
    used = "\nprint(f)" if "def f" in one else ""
    assert code_key(one + used) != code_key(other + used)


def test_settings_count():
    assert code_key("x = 1", {"lr": 1}) != code_key("x = 1", {"lr": 2})


NAMES = ("a", "b", "c")


def expression(draw, depth=0):
    kind = draw(st.sampled_from(("name", "name", "number", "sum", "list") if depth < 2 else ("name", "number")))
    if kind == "name":
        return draw(st.sampled_from((*NAMES, "G")))
    if kind == "number":
        return str(draw(st.integers(0, 3)))
    if kind == "list":
        name = draw(st.sampled_from((*NAMES, "G")))
        return f"sum([{expression(draw, depth + 1)} for {name} in range({expression(draw, depth + 1)})])"
    return f"({expression(draw, depth + 1)} {draw(st.sampled_from('+-*'))} {expression(draw, depth + 1)})"


def block(draw, depth):
    lines = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(("assign", "assign", "print", "if", "return", "pass", "for")))
        if kind == "assign":
            lines.append(f"{draw(st.sampled_from(NAMES))} = {expression(draw)}")
        elif kind == "print":
            lines.append(f"print({expression(draw)})")
        elif kind == "if" and depth < 2:
            test = draw(st.sampled_from(("False", "True", "0", expression(draw))))
            lines += [f"if {test}:", *("    " + line for line in block(draw, depth + 1))]
        elif kind == "for" and depth < 2:
            lines += [f"for {draw(st.sampled_from(NAMES))} in range(2):", *("    " + x for x in block(draw, depth + 1))]
        elif kind == "return":
            lines.append(f"return {expression(draw)}")
        else:
            lines.append("pass")
    return lines


@st.composite
def programs(draw):
    functions = [
        "\n".join([f"def f{number}():", *("    " + line for line in block(draw, 0))])
        for number in range(draw(st.integers(1, 2)))
    ]
    top = [f"{name} = {draw(st.integers(0, 3))}" for name in draw(st.sets(st.sampled_from(NAMES)))]
    called = draw(st.sampled_from(("f0", "f0", "f1")))
    return "\n".join([*top, "G = 2", *functions, f"print({called}())"])


def behaviour(source):
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(source, "program", "exec"), {"__name__": "p"})
    except (NameError, TypeError, RecursionError) as error:
        return printed.getvalue(), type(error)
    return printed.getvalue(), None


def edited(source, chance):
    """A small change of the kinds that a key might wrongly ignore."""
    lines = source.splitlines()
    place = chance.randrange(len(lines))
    kind = chance.randrange(4)
    if kind == 0:
        del lines[place]
    elif kind == 1:
        old, new = chance.sample(("a", "b", "c", "G", "0", "1"), 2)
        lines[place] = lines[place].replace(old, new)
    elif kind == 2:
        indent = lines[place][: len(lines[place]) - len(lines[place].lstrip())]
        lines.insert(place, indent + chance.choice(("pass", "a = 1", "return 1", "print(a)", "b = c")))
    else:
        old, new = chance.sample(("a", "b", "c"), 2)
        lines = [line if "def" in line else line.replace(old, new) for line in lines]
    return "\n".join(lines)


@settings(max_examples=60, deadline=None)
@given(programs(), st.integers(0, 10**6))
def test_equal_keys_mean_equal_behaviour(source, seed):
    chance = random.Random(seed)
    for _ in range(8):
        other = edited(source, chance)
        try:
            same = code_key(source) == code_key(other)
        except SyntaxError:
            continue
        if same:
            assert behaviour(source) == behaviour(other), textwrap.dedent(f"{source}\n-----\n{other}")


@settings(max_examples=25, deadline=None)
@given(programs())
def test_layout_never_counts(source):
    lines = source.splitlines()
    noisy = "\n\n".join(f"{line}  # why" for line in lines)
    assert code_key(noisy) == code_key(source)
