"""Whole replies: pending blocks, budgets of feedback, continuation, and what the outcome says."""

import json
from pathlib import Path

import pytest

from agent.base.errors import AgentError
from agent.edit import Block, Outcome, apply_reply, continuation_prompt, join_reply
from tests.pace import idle_seconds


def block(search: str, replace: str, name: str = "a.py") -> str:
    return f"{name}\n<<<<<<< SEARCH\n{search}\n=======\n{replace}\n>>>>>>> REPLACE\n\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "a.py").write_text("x = 1\ny = 2\nz = 3\n", encoding="utf-8")
    (tmp_path / "b.py").write_text("w = 4\n", encoding="utf-8")
    return tmp_path


def through_json(outcome: Outcome) -> list[Block]:
    return [Block.from_json(data) for data in json.loads(json.dumps([block.to_json() for block in outcome.pending]))]


def test_good_blocks_wait_for_the_failed_ones(root: Path) -> None:
    first = apply_reply(block("x = 1", "x = 10") + block("q = 9", "q = 90"), root, ["a.py"])
    codes = [(result.status, result.code) for result in first.blocks]
    assert codes == [("rejected", "PENDING"), ("rejected", "MISSING")]
    assert (root / "a.py").read_text() == "x = 1\ny = 2\nz = 3\n"
    assert "Pending, need not be sent again: block 1 (a.py: x = 1)" in first.feedback
    second = apply_reply(block("y = 2", "y = 20"), root, ["a.py"], pending=through_json(first))
    assert second.applied
    assert (root / "a.py").read_text() == "x = 10\ny = 20\nz = 3\n"
    assert second.changed == ["a.py"]


def test_held_blocks_are_placed_again_in_a_file_that_changed(root: Path) -> None:
    first = apply_reply(block("x = 1", "x = 10") + block("q = 9", "q = 90"), root, ["a.py"])
    (root / "a.py").write_text("x = 5\ny = 2\n", encoding="utf-8")
    second = apply_reply(block("y = 2", "y = 20"), root, ["a.py"], pending=through_json(first))
    codes = [(result.status, result.code) for result in second.blocks]
    assert codes == [("rejected", "MISSING"), ("rejected", "PENDING")]
    assert "Pending block 1, a.py: nothing was written. MISSING" in second.feedback
    assert [pending.splits[0].search for pending in second.pending] == [("y = 2",)]


def test_a_block_that_builds_on_a_failed_one_is_not_held(root: Path) -> None:
    (root / "a.py").write_bytes("# café\nx = 1\ny = 2\n".encode("latin-1"))
    text = block("x = 1", "x = 'λ'\nnew = 0") + block("new = 0", "new = 5") + block("y = 2", "y = 20")
    outcome = apply_reply(text, root, ["a.py"])
    assert [result.code for result in outcome.blocks] == ["ENCODING", "MISSING", "PENDING"]
    assert "it builds on a block that failed" in outcome.feedback
    assert [pending.index for pending in outcome.pending] == [3]


def test_overlapping_blocks_are_both_asked_for(root: Path) -> None:
    text = block("x = 1\ny = 2", "x = 10\ny = 20") + block("y = 2\nz = 3", "y = 21\nz = 30")
    outcome = apply_reply(text, root, ["a.py"])
    assert [result.code for result in outcome.blocks] == ["OVERLAP", "OVERLAP"]
    assert "it and block 2 change the same lines" in outcome.feedback


def test_a_block_sent_twice_is_not_called_done_in_a_refused_reply(root: Path) -> None:
    text = block("x = 1", "x = 10") * 2 + block("q", "r")
    outcome = apply_reply(text, root, ["a.py"])
    assert [(result.status, result.code) for result in outcome.blocks] == [
        ("rejected", "PENDING"),
        ("rejected", "PENDING"),
        ("rejected", "MISSING"),
    ]
    assert len(outcome.pending) == 1


def test_a_failed_block_left_out_is_remarked_on(root: Path) -> None:
    first = apply_reply(block("x = 1", "x = 10") + block("q", "r") + block("s", "t"), root, ["a.py"])
    second = apply_reply(block("y = 2", "y = 20"), root, ["a.py"], pending=first.pending)
    assert second.applied
    assert second.notes == ["1 failed block(s) of the reply before were not sent again: dropped."]


def test_a_dry_run_holds_everything_for_later(root: Path) -> None:
    first = apply_reply(block("x = 1", "x = 10"), root, ["a.py"], dry_run=True)
    assert first.applied
    assert first.changed == ["a.py"]
    assert (root / "a.py").read_text().startswith("x = 1\n")
    second = apply_reply("No block now.", root, ["a.py"], pending=through_json(first))
    assert second.applied
    assert (root / "a.py").read_text().startswith("x = 10\n")


def test_a_reply_at_the_token_limit_is_held_even_when_its_blocks_are_whole(root: Path) -> None:
    first = apply_reply(block("x = 1", "x = 10"), root, ["a.py"], cut_off=True)
    assert (first.applied, first.failure, first.cut_off) == (False, "length", True)
    second = apply_reply("That was all.", root, ["a.py"], pending=through_json(first))
    assert second.applied
    assert (root / "a.py").read_text().startswith("x = 10\n")


def test_a_cut_reply_keeps_its_closed_blocks_and_is_continued(root: Path) -> None:
    text = block("x = 1", "x = 10") + block("y = 2", "y = 20")
    cut = text[: text.rindex("20") + 1]
    first = apply_reply(cut, root, ["a.py"])
    assert (first.failure, [result.code for result in first.blocks]) == ("length", ["PENDING", "CUT OFF"])
    assert first.tail == "a.py\n<<<<<<< SEARCH\ny = 2\n=======\ny = 2"
    assert "unfinished" in continuation_prompt(cut)
    joined = join_reply(cut, block("y = 2", "y = 20"))
    assert apply_reply(joined, root, ["a.py"]).applied
    assert (root / "a.py").read_text() == "x = 10\ny = 20\nz = 3\n"


@pytest.mark.parametrize("at", range(30, 110, 7))
def test_a_continuation_may_go_on_or_repeat_the_last_words(at: int) -> None:
    text = block("first = 1", "second = 2") + block("third_thing = 3", "fourth_thing = 4")
    assert join_reply(text[:at], text[at:]) == text
    assert join_reply(text[:at], text[at - 20 :]) == text


def test_no_change_and_no_block_count_as_failed_turns(root: Path) -> None:
    same = apply_reply(block("x = 1", "x = 1"), root, ["a.py"])
    assert (same.applied, same.failure, same.blocks[0].status) == (False, "format", "no_change")
    assert "NO CHANGE" in same.feedback
    empty = apply_reply("I think we are done.", root, ["a.py"])
    assert (empty.applied, empty.failure, empty.blocks) == (False, "format", [])
    assert "no SEARCH/REPLACE block" in empty.feedback


def test_lint_has_a_budget_of_its_own_and_names_the_block(root: Path) -> None:
    outcome = apply_reply(block("x = 1", "x = 10") + block("z = 3", "z = nowhere"), root, ["a.py"])
    assert outcome.failure == "lint"
    assert [result.code for result in outcome.blocks] == ["PENDING", "LINT"]
    assert outcome.lint == ["a.py:3:5: F821 undefined name 'nowhere' | z = nowhere"]
    assert "undefined name 'nowhere'" in outcome.feedback


def test_feedback_for_a_miss_shows_the_first_difference(root: Path) -> None:
    (root / "a.py").write_text("def f(a):\n    b = a + 1\n    c = b * 2\n    return c\n", encoding="utf-8")
    text = apply_reply(block("    b = a + 1\n    c = b * 3\n    return c", "    return 1"), root, ["a.py"]).feedback
    assert "Block 1 of 1, a.py: nothing was written. MISSING" in text
    assert "Nothing was written" in text
    assert "SEARCH line 2, file line 3, from column 13" in text
    assert "SEARCH: '    c = b * 3'" in text
    assert "file:   '    c = b * 2'" in text
    assert "    3|     c = b * 2" in text


def test_feedback_names_the_other_file_and_never_edits_it(root: Path) -> None:
    outcome = apply_reply(block("w = 4", "w = 5"), root, ["*.py"])
    assert "It stands in b.py" in outcome.feedback
    assert (root / "b.py").read_text() == "w = 4\n"


def test_feedback_stays_within_its_sizes_with_long_lines(root: Path) -> None:
    line = "Results: " + "'metric': 0.123, " * 1600
    (root / "a.py").write_text(f"first\n{line}\nlast\n" * 3 + f"{line}x\nend\n", encoding="utf-8")
    near = line[:20_000] + "CHANGED" + line[20_007:]
    outcome = apply_reply(block(f"{near}x\nend", "gone"), root, ["a.py"])
    assert len(outcome.feedback) <= 2200
    assert "CHANGED" in outcome.feedback
    assert "from column 20001" in outcome.feedback
    many = "".join(block(f"{near}{number}", "gone") for number in range(60))
    outcome = apply_reply(many, root, ["a.py"])
    assert len(outcome.feedback) <= 6000
    assert len(outcome.blocks) == 60


def test_ambiguous_places_are_numbered(root: Path) -> None:
    (root / "a.py").write_text("x = 1\n\nx = 1\n\nx = 1\n", encoding="utf-8")
    outcome = apply_reply(block("x = 1", "x = 2"), root, ["a.py"])
    assert outcome.blocks[0].lines == [1, 3, 5]
    assert "lines 1, 3, 5" in outcome.feedback


def test_a_miss_in_a_large_file_is_answered_quickly(root: Path) -> None:
    lines = [f"value_{number} = compute(alpha, {number})" for number in range(2000)]
    lines[700] = "x" * 1_000_000
    (root / "a.py").write_text("\n".join(lines), encoding="utf-8")
    search = "\n".join(line.replace("alpha", "beta") for line in lines[900:940])
    outcome = apply_reply(block(search, "pass"), root, ["a.py"])
    assert "Nearest: lines 901 to 940" in outcome.feedback
    assert idle_seconds(lambda: apply_reply(block(search, "pass"), root, ["a.py"])) < 0.5


def test_repeated_lines_do_not_stall_the_search(root: Path) -> None:
    (root / "a.py").write_text("    pass\n" * 4000, encoding="utf-8")
    reply = block("\n".join(["pass"] * 1999 + ["end"]), "pass")
    assert apply_reply(reply, root, ["a.py"]).blocks[0].code == "MISSING"
    assert idle_seconds(lambda: apply_reply(reply, root, ["a.py"])) < 2


def test_a_missing_root_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="no folder"):
        apply_reply("", tmp_path / "none", ["*"])


def test_a_folder_in_place_of_a_file_is_refused(root: Path) -> None:
    (root / "c.py").mkdir()
    outcome = apply_reply(block("x", "y", "c.py"), root, ["*"])
    assert outcome.blocks[0].code == "NO FILE"
