"""Masking keeps every place, and passages are what people would call sentences and rows."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.audit.document import make_document, read_document
from agent.audit.passages import passages
from agent.base.errors import AgentError

PIECES = [
    "\\section{A}", "run\\_1", "$k = 16$", "% a comment 0.5", "\\begin{tabular}{l}a & b \\\\\\end{tabular}",
    "\\cite{x}", "\n\n", "\\res{run_1}{core.l0}", "\\num{run_1:core.l0}", "{run_1:core.l0}", " ", "{", "}", "$",
    "\\[ 1 \\]", "```", "| a | b |\n|--|--|\n| 1 | 2 |\n", "0.7463 ± 0.0002", "```\n0.5\n```\n", "# Run 1: x\n",
    "a  b\n---  ---\n1  2\n", "\\", "\\%", "~", "_", "10^{-3}",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=25), st.sampled_from(["tex", "md", "txt"]))
@settings(max_examples=150, deadline=None)
def test_masking_keeps_places(pieces: list[str], form: str) -> None:
    document = make_document("".join(pieces), form, Path("paper"))  # type: ignore[arg-type]
    assert len(document.masked) == len(document.text)
    assert document.masked.count("\n") == document.text.count("\n")
    for passage in passages(document):
        assert 0 <= passage.start <= len(document.text)
        if passage.kind == "sentence":
            assert document.masked[passage.start : passage.start + len(passage.text)].replace("\n", " ") == passage.text


def test_sentences_end_where_people_end_them() -> None:
    text = (
        "As in Gao et al. (2024), k is 16. run_1 has 0.5 (cf. Fig. 2). Then, e.g. 0.7\nof it.\n\n- an item\n- another"
    )
    found = [passage.text for passage in passages(make_document(text, "md", Path("x.md")))]
    assert found == [
        "As in Gao et al. (2024), k is 16.",
        "run_1 has 0.5 (cf. Fig. 2).",
        "Then, e.g. 0.7 of it.",
        "- an item",
        "- another",
    ]


def test_rows_know_their_header_and_their_line() -> None:
    text = "metric     run_1   topk\n---------  ------  ----\ncore.l0    16      16\ncore.mse   7.2     7.1\n\nAfter."
    document = make_document(text, "txt", Path("x.txt"))
    rows = [passage for passage in passages(document) if passage.kind == "row"]
    assert [tuple(cell.text.strip() for cell in row.cells) for row in rows] == [
        ("core.l0", "16", "16"),
        ("core.mse", "7.2", "7.1"),
    ]
    assert rows[0].header == ("metric", "run_1", "topk")
    assert document.line(rows[1].start) == 4


def test_comments_equations_and_listings_are_not_read() -> None:
    text = "A % 0.5\n\\begin{equation}0.25\\end{equation}\n\\begin{verbatim}\n0.125\n\\end{verbatim}\nB"
    document = make_document(text, "tex", Path("x.tex"))
    assert not any(digit in document.masked for digit in "0125")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [("a.docx", b"x", "give a .tex"), ("a.md", b"\xff\xfe\x00", "UTF-8"), ("none.md", None, "cannot read")],
)
def test_bad_input_is_one_line(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(AgentError, match=said):
        read_document(tmp_path / name)
