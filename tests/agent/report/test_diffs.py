"""The side-by-side diff: nothing of either file may get lost on the way to the page."""

import re
from html import unescape

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.report.review.diffs import CONTEXT, side_by_side

LINES = st.lists(
    st.sampled_from(["a = 1", "b = '<x>'", "", "def f():", "    return 1", '"""text', "# note"]), max_size=12
)


def plain(html):
    return unescape(re.sub("<[^>]*>", "", html))


@settings(max_examples=60, deadline=None)
@given(LINES, LINES)
def test_rows_hold_every_changed_line_at_its_number(old, new):
    rows = side_by_side("".join(f"{line}\n" for line in old), "".join(f"{line}\n" for line in new))
    for row in rows:
        if row.old_number:
            assert plain(row.old) == old[row.old_number - 1]
        if row.new_number:
            assert plain(row.new) == new[row.new_number - 1]
    shown_old = {row.old_number for row in rows if row.old_number}
    shown_new = {row.new_number for row in rows if row.new_number}
    same = [(row.old_number, row.new_number) for row in rows if row.kind == "same"]
    assert all(old[i - 1] == new[j - 1] for i, j in same)
    # What is not shown is the same on both sides.
    left = [line for number, line in enumerate(old, 1) if number not in shown_old]
    right = [line for number, line in enumerate(new, 1) if number not in shown_new]
    assert left == right


def test_equal_texts_have_no_rows():
    assert side_by_side("a = 1\n", "a = 1\n") == []


def test_a_far_change_shows_its_surroundings_only():
    old = [f"x{n} = {n}" for n in range(40)]
    new = [*old[:30], "y = 0", *old[31:]]
    rows = side_by_side("\n".join(old), "\n".join(new))
    assert [row.kind for row in rows] == ["gap", *["same"] * CONTEXT, "changed", *["same"] * CONTEXT]
    assert plain(rows[CONTEXT + 1].old) == "x30 = 30"
    assert plain(rows[CONTEXT + 1].new) == "y = 0"


def test_a_string_over_lines_is_coloured_on_each():
    rows = side_by_side('x = """one\ntwo\nthree"""\n', 'x = """one\n2\nthree"""\n')
    changed = next(row for row in rows if row.kind == "changed")
    assert changed.old.startswith("<span")
    assert changed.old.count("<span") == changed.old.count("</span>")
