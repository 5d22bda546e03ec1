"""Random files, spans and replies: an edit equals the spliced text, and nothing is ever written half."""

import tempfile
from pathlib import Path

from hypothesis import assume, given
from hypothesis import strategies as st

import agent.edit.text
from agent.edit import Block, apply_reply
from agent.edit.text import read_source, spliced, split_lines

WORDS = st.sampled_from(
    ["", "x = 1", "  x = 1", "\ty", "return x ", "# λ – “q”", "a\u00a0b", "pass", "...", "====", "\x0c"]
)
LINE = WORDS | st.text(st.characters(exclude_characters="\n\r", codec="utf-8"), max_size=12)
# Lines that read as a marker or a divider are cases of the corpus.
PLAIN = LINE.filter(lambda line: not line.strip().startswith(("<<<<<", ">>>>>", "=====")))
FILE = st.lists(PLAIN, min_size=1, max_size=14)


def reply_of(*blocks: tuple[list[str], list[str]], name: str = "f.txt") -> str:
    parts = []
    for search, replace in blocks:
        parts.append("\n".join([name, "<<<<<<< SEARCH", *search, "=======", *replace, ">>>>>>> REPLACE", ""]))
    return "\n".join(parts)


def places(lines: list[str], wanted: list[str]) -> int:
    return sum(lines[at : at + len(wanted)] == wanted for at in range(len(lines) - len(wanted) + 1))


@given(FILE, st.data(), st.lists(PLAIN, max_size=5), st.sampled_from(["\n", "\r\n"]), st.booleans(), st.booleans())
def test_an_edit_equals_the_spliced_text(
    lines: list[str], data: st.DataObject, new: list[str], end: str, final: bool, bom: bool
) -> None:
    start = data.draw(st.integers(0, len(lines) - 1))
    stop = data.draw(st.integers(start + 1, len(lines)))
    old = lines[start:stop]
    assume(places(lines, old) == 1 and old != new)
    # A last line that is empty and has no end is no line.
    assume(final or lines[-1] != "")
    assume(any(line.strip() for line in lines))
    # A file of one line without an end does not say what its line ends are.
    assume(final or len(lines) > 1 or end == "\n")
    mark = b"\xef\xbb\xbf" if bom else b""
    before = mark + (end.join(lines) + (end if final else "")).encode()
    assume(not before[len(mark) :].startswith(b"\xef\xbb\xbf"))
    wanted = [*lines[:start], *new, *lines[stop:]]
    after = mark + (end.join(wanted) + (end if final and wanted else "")).encode()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "f.txt").write_bytes(before)
        outcome = apply_reply(reply_of((old, new)), root, ["f.txt"])
        assert (root / "f.txt").read_bytes() == after, outcome
        assert outcome.applied == (before != after)


@given(FILE, st.data())
def test_two_disjoint_edits_equal_the_spliced_text(lines: list[str], data: st.DataObject) -> None:
    lines = [f"{number} {line}" for number, line in enumerate(lines)] + ["end"]
    cut = data.draw(st.integers(1, len(lines) - 1))
    first = data.draw(st.integers(0, cut - 1))
    second = data.draw(st.integers(cut, len(lines) - 1))
    blocks = [([lines[first]], ["one", "new"]), ([lines[second]], [])]
    if data.draw(st.booleans()):
        blocks.reverse()
    wanted = [*lines[:first], "one", "new", *lines[first + 1 : second], *lines[second + 1 :]]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "f.txt").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
        assert apply_reply(reply_of(*blocks), root, ["*"]).applied
        assert (root / "f.txt").read_bytes() == ("\n".join(wanted) + "\n").encode()


@given(FILE, st.data(), st.integers(0, 3), st.booleans())
def test_a_tolerant_match_touches_only_the_changed_line(
    lines: list[str], data: st.DataObject, blanks: int, crlf: bool
) -> None:
    lines = [f"line {number}{'  ' * (number % 2)}" for number in range(len(lines) + 2)]
    start = data.draw(st.integers(0, len(lines) - 2))
    end = "\r\n" if crlf else "\n"
    search = [line.rstrip() + " " * blanks for line in lines[start : start + 2]]
    replace = [search[0], "changed"]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "f.txt").write_bytes((end.join(lines) + end).encode())
        assert apply_reply(reply_of((search, replace)), root, ["*"]).applied
        after = (root / "f.txt").read_bytes().decode().split(end)
    assert after[: start + 1] == lines[: start + 1]
    assert after[start + 1].startswith("changed")
    assert after[start + 2 : -1] == lines[start + 2 :]


MARKERS = ["f.txt", "g.txt", "<<<<<<< SEARCH", "=======", ">>>>>>> REPLACE", "```", "=====", "..."]
MARKS = st.sampled_from([*MARKERS, "one", "two", "three", "new", ""])


TEXT = st.lists(st.sampled_from(["one", "two", "three", "new words", ""]), max_size=3)
BLOCK = st.builds(
    lambda name, search, replace, end: reply_of((search, replace), name=name)[: None if end else -9],
    st.sampled_from(["f.txt", "g.txt", "h.txt", ""]),
    TEXT,
    TEXT,
    st.integers(0, 9),
)
REPLY = st.lists(BLOCK, max_size=5) | st.lists(MARKS, max_size=30)


@given(REPLY, REPLY)
def test_a_reply_is_applied_whole_or_not_at_all(words: list[str], again: list[str]) -> None:
    before = {"f.txt": b"one\ntwo\nthree\n", "g.txt": b"three\n\ntwo\none"}
    pending: list[Block] = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for path, content in before.items():
            (root / path).write_bytes(content)
        for reply in ("\n".join(words), "\n".join(again)):
            outcome = apply_reply(reply, root, ["*"], pending=pending)
            pending = [Block.from_json(block.to_json()) for block in outcome.pending]
            after = {path.name: path.read_bytes() for path in root.iterdir()}
            counts = [block.status for block in outcome.blocks]
            assert all(block.reason for block in outcome.blocks if block.status == "rejected")
            assert len(outcome.feedback) <= 6000
            if "rejected" in counts:
                assert after == before
                assert not outcome.applied
                assert outcome.failure
                assert outcome.feedback
            else:
                assert outcome.changed == sorted(path for path in after if after[path] != before.get(path))
                assert not pending
            before = after


@given(st.binary(max_size=300))
def test_random_bytes_as_a_reply_write_nothing(content: bytes) -> None:
    assume(b"SEARCH" not in content)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "f.txt").write_bytes(b"one\n")
        apply_reply(content.decode("utf-8", "surrogateescape"), root, ["**"])
        assert [path.name for path in root.iterdir()] == ["f.txt"]
        assert (root / "f.txt").read_bytes() == b"one\n"


@given(st.binary(max_size=200))
def test_random_bytes_as_a_file_survive_an_edit_elsewhere(content: bytes) -> None:
    assume(b"marker line" not in content and not content.startswith((b"\xff\xfe", b"\xfe\xff")))
    before = b"# marker line\n" + content
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "f.txt").write_bytes(before)
        outcome = apply_reply(reply_of((["# marker line"], ["# other"])), root, ["f.txt"])
        assert outcome.applied
        assert (root / "f.txt").read_bytes() == b"# other\n" + content


@given(st.binary(max_size=300))
def test_reading_and_writing_a_file_changes_no_byte(content: bytes) -> None:
    source = read_source(content)
    assert source.encode([]) == content
    whole = (0, len(source.doc), spliced(source.doc, []))
    assert source.encode([whole] if len(source.doc) else []) == content


@given(st.text())
def test_lines_and_ends_make_up_the_text(text: str) -> None:
    lines, ends = split_lines(text)
    assert "".join(line + end for line, end in zip(lines, ends)) == text
    assert all(ends[:-1])


@given(st.text(st.sampled_from("ab\n\r“λ"), max_size=60), st.integers(1, 9))
def test_a_file_read_in_pieces_has_the_same_lines(text: str, size: int) -> None:
    piece = agent.edit.text._PIECE
    agent.edit.text._PIECE = size
    try:
        doc = read_source(text.encode()).doc
    finally:
        agent.edit.text._PIECE = piece
    assert (doc.lines, doc.ends) == split_lines(text)
