"""Values computed from references: the forms that there are, and that nothing but results moves them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.base.errors import AgentError
from agent.results.expressions import parse_expression
from agent.results.read import Value

VALUES = {
    ("run_1", "core.l0"): 24.0,
    ("run_2", "core.l0"): 20.0,
    ("topk", "core.l0"): 16.0,
    ("topk", "core.delta_ce"): 0.0,
    ("topk", "core.mse"): 8.0,
    ("topk", "training.seconds"): 90.0,
}


def lookup(source: str, metric: str) -> Value | None:
    number = VALUES.get((source, metric))
    return None if number is None else Value(number)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("run_1:core.l0", 24),
        ("run_1:core.l0 - topk:core.l0", 8),
        ("-(topk:core.l0 - run_1:core.l0)", 8),
        ("run_1:core.l0 + run_2:core.l0 + topk:core.l0", 60),
        ("percent(run_1:core.l0, topk:core.l0)", 50),
        ("100 * (run_1:core.l0 - topk:core.l0) / topk:core.l0", 50),
        ("abs(topk:core.l0 - run_1:core.l0) / topk:core.l0", 0.5),
        ("abs(percent(topk:core.l0, run_1:core.l0))", 100 / 3),
        ("(run_1:core.l0 - run_2:core.l0) / (run_1:core.l0 - topk:core.l0)", 0.5),
        ("topk:core.l0 / topk:core.mse", 2),
        ("topk:core.l0 * topk:core.mse", 128),
        ("topk:training.seconds / 60", 1.5),
        (r"run\_1:core.l0 * 1e3", 24000),
    ],
)
def test_it_computes(text: str, value: float) -> None:
    assert parse_expression(text).value(lookup) == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3 + 4",
        "run_1:core.l0 ** 9",
        "__import__('os').system('true') + run_1:core.l0",
        "run_1:core.l0.real",
        "[run_1:core.l0][0]",
        "run_1:core.l0 if 1 else 2",
        "run_1:core.l0; 3",
        "lambda: run_1:core.l0",
        "exec(run_1:core.l0)",
        "r0 + run_1:core.l0 + r1",
        "run_1:core.l0 + True",
        "run_1:core.l0 + " * 40,
        "(" * 200 + "run_1:core.l0",
        "percent(run_1:core.l0)",
        "abs + run_1:core.l0",
    ],
)
def test_it_refuses_whatever_is_more_than_a_value(text: str) -> None:
    with pytest.raises(AgentError):
        parse_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "0.91 + 0 * run_1:core.l0",
        "run_1:core.l0 * 0.5",
        "run_1:core.l0 / 1e1",
        "-(topk:core.l0 - run_1:core.l0) * 2",
        "-run_1:core.l0",
        "100 * 100 * run_1:core.l0",
        "100 * run_1:core.l0 / 60",
        "run_1:core.l0 / 0",
        "max(run_1:core.l0, topk:core.l0, 3)",
        "min(run_1:core.l0, topk:core.mse)",
        "run_1:core.l0 - run_1:core.l0 + topk:core.l0",
        "run_1:core.l0 / run_1:core.l0",
        "(run_1:core.l0 + topk:core.l0) / run_1:core.l0",
        "run_1:core.l0 * topk:core.l0",
        "run_1:core.l0 + topk:core.mse",
        "run_1:core.l0 - topk:core.l0 - run_2:core.l0",
        "topk:core.l0 * run_1:core.l0 / run_1:core.l0",
        "percent(run_1:core.l0, topk:core.mse)",
        "abs(run_1:core.l0)",
    ],
)
def test_nothing_that_is_typed_moves_a_value_and_no_result_cancels_out(text: str) -> None:
    with pytest.raises(AgentError, match="write a result"):
        parse_expression(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("run_1:core.l0 / topk:core.delta_ce", "cannot be computed"),
        ("run_9:core.l0", "leads to no result"),
    ],
)
def test_what_has_no_value_is_said(text: str, said: str) -> None:
    with pytest.raises(AgentError, match=said):
        parse_expression(text).value(lookup)


@given(st.text(alphabet="run_1:core.l0+-*/() topk,percentabs0123456789[]{}'\"\\", max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_gives_a_number_or_our_own_error(text: str) -> None:
    try:
        value = parse_expression(text).value(lookup)
    except AgentError:
        return
    assert isinstance(value, float)
