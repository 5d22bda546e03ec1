"""Tiers, indent shifts and the transplant of a difference onto the real lines."""

import pytest

from agent.edit.indent import uniform_shift
from agent.edit.match import Found, Many, find
from agent.edit.text import Doc
from agent.edit.transplant import Unfit, transplant

TEXT = ["def f():", "\tx = 1 ", "\treturn x", "", "print(“a”)", "x = 1"]
DOC = Doc(TEXT, ["\n"] * len(TEXT))


@pytest.mark.parametrize(
    ("search", "tier", "start"),
    [
        (["x = 1"], "exact", 5),
        (["\tx = 1"], "trailing space", 1),
        (["    return x"], "indent", 2),
        (["x = 1", "return x"], "indent", 1),
        (["", "", "return x", ""], "blank edges", 2),
        (['print("a")'], "unicode", 4),
        (['  print("a")  ', ""], "unicode", 4),
    ],
)
def test_each_tier(search: list[str], tier: str, start: int) -> None:
    found = find(DOC, search)
    assert isinstance(found, Found)
    assert (found.tier, found.start) == (tier, start)


def test_the_first_tier_with_a_candidate_decides() -> None:
    doc = Doc(["x", "x ", "  x", "x "], ["\n"] * 4)
    assert isinstance(find(doc, ["x"]), Found)
    assert find(doc, ["x  "]) == Many("trailing space", (0, 1, 3))


def test_similarity_is_no_match() -> None:
    assert find(DOC, ["def g():"]) is None


@pytest.mark.parametrize(
    ("ours", "theirs", "indent", "moved"),
    [
        (["a", "  b"], ["    a", "      b"], "    ", "        "),
        (["        a"], ["    a"], "            ", "        "),
        (["    a", "        b"], ["\ta", "\t\tb"], "            ", "\t\t\t"),
        (["  a", "    b"], ["\ta", "\t\tb"], "      ", "\t\t\t"),
        (["a", "    b"], ["\ta", "\t\tb"], "        ", "\t\t\t"),
        (["\ta"], ["    a"], "\t\t", "        "),
        (["a"], ["\ta"], "\t", "\t\t"),
    ],
)
def test_one_shift_for_all_lines(ours: list[str], theirs: list[str], indent: str, moved: str) -> None:
    shift = uniform_shift(ours, theirs)
    assert shift is not None
    assert shift.apply(indent) == moved


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(["a", "b"], ["  a", "b"]), (["  a", "    b"], ["a", "    b"]), (["a", "a"], [" a", "  a"])],
)
def test_shifts_that_differ_are_none(ours: list[str], theirs: list[str]) -> None:
    assert uniform_shift(ours, theirs) is None


def test_a_line_cannot_be_moved_beyond_the_margin() -> None:
    shift = uniform_shift(["        a"], ["    a"])
    with pytest.raises(Unfit, match="INDENT"):
        transplant([("    a", "\n")], ["        a"], ["b"], shift)


def test_untouched_stretches_of_a_line_survive() -> None:
    real = "log(“λ”,\u00a0x)  # don’t"
    (line,) = transplant([(real, "\r\n")], ['log("λ", x)  # don\'t'], ['log("λ", y)  # don\'t'], None)
    assert line == ("log(“λ”,\u00a0y)  # don’t", "\r\n")


def test_lines_are_paired_by_likeness_where_their_number_changes() -> None:
    real = [("a = f(x)  ", "\n"), ("b = g(y)\t", "\n")]
    lines = transplant(real, ["a = f(x)", "b = g(y)"], ["new = 0", "a = f(z)", "b = g(z)"], None)
    assert [text for text, _ in lines] == ["new = 0", "a = f(z)  ", "b = g(z)\t"]


def test_huge_texts_are_transplanted_in_time() -> None:
    real = [(f"x{number} = “{number}” ", "\n") for number in range(2000)]
    search = [f'x{number} = "{number}"' for number in range(2000)]
    replace = [*search[:1000], 'changed = "1"', *search[1001:]]
    lines = transplant(real, search, replace, None)
    assert [line for line in lines if line not in real] == [("changed = “1” ", "\n")] or len(lines) == 2000
