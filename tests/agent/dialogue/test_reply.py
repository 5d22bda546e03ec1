"""Replies are taken apart; what stands inside a block stays in the block."""

from hypothesis import given
from hypothesis import strategies as st

from agent.dialogue.reply import parse_reply
from agent.results.predictions import Prediction

BLOCK = "experiment.py\n<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE\n"


def test_sections_and_blocks():
    parts = parse_reply(
        "Words.\n<analysis>\nIt was\nso.\n</analysis>\n<change>A  new\nloss</change>\n"
        "<prediction>\n- core.explained_variance down by 0.001..0.01\n* `core.l0` same\n"
        "absorption.mean_full_absorption_score: up by 0.02, they say\nBecause.\n</prediction>\n" + BLOCK
    )
    assert parts.analysis == "It was\nso."
    assert parts.change == "A new loss"
    assert parts.predictions == (
        Prediction("core.explained_variance", "down", 0.001, 0.01),
        Prediction("core.l0", "same"),
        Prediction("absorption.mean_full_absorption_score", "up", 0.02),
    )
    assert BLOCK in parts.edits
    assert "<analysis>" not in parts.edits
    assert not parts.completed


def test_tags_inside_a_block_belong_to_the_file():
    block = BLOCK.replace("b\n", '"""<change>kept</change>"""\n')
    parts = parse_reply("<change>real</change>\n" + block)
    assert parts.change == "real"
    assert '"""<change>kept</change>"""' in parts.edits


def test_completed_only_on_a_line_of_its_own():
    assert parse_reply("<analysis>x</analysis>\n**ALL_COMPLETED**\n").completed
    assert not parse_reply("I will not say ALL_COMPLETED yet.").completed
    assert not parse_reply("<analysis>ALL_COMPLETED</analysis>").completed


@given(st.text())
def test_any_text_is_taken_apart(text):
    parts = parse_reply(text)
    assert len(parts.edits) <= len(text)


@given(st.text(alphabet=st.characters(blacklist_characters="<>"), max_size=200))
def test_blocks_pass_unchanged(body):
    block = f"f.py\n<<<<<<< SEARCH\n{body}\n=======\nx\n>>>>>>> REPLACE\n"
    assert block in parse_reply("<change>c</change>\n" + block).edits
