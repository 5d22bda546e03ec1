"""Replies taken apart: nothing in them goes unaccounted for."""

from hypothesis import given
from hypothesis import strategies as st

from agent.edit import parse
from agent.edit.blocks import remarks

LINES = st.sampled_from(
    [
        "<<<<<<< SEARCH",
        "<<<<< SEARCH",
        "<<<<<<<<< SEARCH",
        "=======",
        "=====",
        ">>>>>>> REPLACE",
        ">>>>> REPLACE",
        ">>>>>>> REPLA",
        "<<<<<<< HEAD",
        "```python",
        "```",
        "~~~",
        "a.py",
        "",
        "x = 1",
        "    y = 2",
        "@@ -1,2 +1,2 @@",
    ]
)


@given(st.lists(LINES, max_size=40), st.sampled_from(["\n", "\r\n"]))
def test_every_opening_marker_is_accounted_for(lines: list[str], end: str) -> None:
    parsed = parse(end.join(lines))
    heads = sum(line.endswith("SEARCH") for line in lines)
    sound = [block for block in parsed.blocks if not block.fault]
    quoted = sum(
        line.endswith("SEARCH")
        for block in sound
        for split in block.splits[:1]
        for line in (*split.search, *split.replace)
    )
    opened = [block for block in parsed.blocks if lines[block.line - 1].endswith("SEARCH")]
    assert len(opened) + quoted == heads
    assert [block.index for block in parsed.blocks] == list(range(1, len(parsed.blocks) + 1))
    assert all(block.splits or block.fault for block in parsed.blocks)
    assert parsed.tail_line <= len(lines)


@given(st.text())
def test_any_text_can_be_parsed(text: str) -> None:
    parsed = parse(text)
    faults, notes = remarks(parsed, [False] * len(parsed.fences))
    assert len(faults) + len(notes) == len(parsed.fences) + len(parsed.dividers)


@given(st.lists(LINES, max_size=30), st.integers(0, 400))
def test_a_reply_cut_off_anywhere_keeps_its_whole_blocks(lines: list[str], cut: int) -> None:
    text = "\n".join(lines)
    whole = [block.splits for block in parse(text).blocks if not block.fault]
    kept = [block.splits for block in parse(text[:cut]).blocks if not block.fault]
    # A cut can only end a block early where the text before it already read as a whole one.
    assert len(kept) <= text[:cut].count("REPLACE") or kept == whole


def test_the_unfinished_end_is_kept_with_its_name() -> None:
    text = "a.py\n<<<<<<< SEARCH\nx\n=======\ny\n>>>>>>> REPLACE\n\nThen:\n\nb.py\n```python\n<<<<<<< SEARCH\nz\n==="
    parsed = parse(text)
    assert parsed.tail == "b.py\n```python\n<<<<<<< SEARCH\nz\n==="
    assert [block.fault[:7] for block in parsed.blocks] == ["", "CUT OFF"]


def test_shell_commands_are_only_remarked_on() -> None:
    parsed = parse("```bash\npython experiment.py --out_dir=run_1\n```\n")
    faults, notes = remarks(parsed, [False])
    assert faults == []
    assert notes == ["Shell commands are ignored: the code at line 1 of the reply was not run."]


def test_a_quoted_block_of_another_size_is_text() -> None:
    inner = ["<<<<<<< SEARCH", "a", "=======", "b", ">>>>>>> REPLACE"]
    (block,) = parse("\n".join(["<<<<<<<<< SEARCH", *inner, "=========", "c", ">>>>>>>>> REPLACE"])).blocks
    assert [(split.search, split.replace) for split in block.splits] == [(tuple(inner), ("c",))]


def test_a_divider_that_underlines_nothing_is_remarked_on() -> None:
    parsed = parse("A plan\n=======\n\n=======\nmore\n")
    assert remarks(parsed, [])[1] == ["A divider at line 4 of the reply belongs to no block."]
