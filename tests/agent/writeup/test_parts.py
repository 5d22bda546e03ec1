"""The review's form, the reading of logs, and how numbers are shown."""

import json
from pathlib import Path

import pytest

from agent.results.read import Value
from agent.writeup.latex import Problem, read_log
from agent.writeup.numbers import escaped, in_tex
from agent.writeup.paper import split_title
from agent.writeup.peer_review import review
from tests.agent.campaigns import Says
from tests.agent.writeup.papers import REVIEW


def test_a_review_out_of_form_is_asked_for_again(tmp_path: Path) -> None:
    model = Says("Fine paper!", json.dumps({**REVIEW, "overall": 11}), f"```json\n{json.dumps(REVIEW)}\n```")
    made = review("paper", model, tmp_path / "review.json")
    assert made is not None
    assert made.decision == "reject"
    assert "no JSON" in model.asked[1]
    assert "overall" in model.asked[2]
    assert json.loads((tmp_path / "review.json").read_text()) == REVIEW


def test_three_reviews_out_of_form_leave_none(tmp_path: Path) -> None:
    assert review("paper", Says("a", "b", "c"), tmp_path / "review.json") is None
    assert not (tmp_path / "review.json").exists()


@pytest.mark.parametrize(
    ("log", "problems"),
    [
        ("./paper.tex:41: Undefined control sequence.\nl.41 ...x \\y\n", [Problem(41, "Undefined control sequence.")]),
        (
            "LaTeX Warning: Reference `fig:a' on page 1 undefined on input line 7.\n",
            [Problem(7, "'fig:a' is undefined")],
        ),
        (
            "Package natbib Warning: Citation `x' on page 2 undefined on input line 9.\n",
            [Problem(9, "'x' is undefined")],
        ),
        ("LaTeX Warning: Label `a' multiply defined.\n", [Problem(0, "the label 'a' stands there twice")]),
        ("./sae-scientist.sty:8: Emergency stop.\n", [Problem(0, "sae-scientist.sty, line 8: Emergency stop.")]),
        ("Overfull \\hbox (3.0pt too wide) in paragraph at lines 3--4\n", []),
    ],
)
def test_a_log_is_read(log: str, problems: list[Problem]) -> None:
    assert read_log(log) == problems


def test_a_line_that_tex_broke_is_put_together() -> None:
    whole = (
        "LaTeX Warning: Citation `a_rather_long_key_that_goes_over_the_line' on page 10 undefined on input line 123."
    )
    assert read_log(f"{whole[:79]}\n{whole[79:]}\n") == [
        Problem(123, "'a_rather_long_key_that_goes_over_the_line' is undefined")
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Value(0.746217), "0.7462"),
        (Value(0.746321, sd=0.000157, n=2), "0.7463 $\\pm$ 0.0002"),
        (Value(-0.0084249), "$-$0.008425"),
        (Value(3.48e-06), "$3.48 \\times 10^{-6}$"),
        (Value(30720.0), "30720"),
        (Value(0.05, given=True), "0.05"),
    ],
)
def test_numbers_are_shown_with_sensible_digits(value: Value, shown: str) -> None:
    assert in_tex(value) == shown


def test_titles_with_braces_and_special_characters() -> None:
    assert split_title("\\title{A \\emph{b} {c}}\nAbstract.") == ("A \\emph{b} {c}", "Abstract.")
    assert split_title("No title.") == ("", "No title.")
    assert escaped("run_1 & 5%") == "run\\_1 \\& 5\\%"
