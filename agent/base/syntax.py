"""Python's parser for several threads: in Python 3.11 two at a time upset its count of how deep a tree is."""

import ast
import threading
from typing import Any

_one_at_a_time = threading.Lock()


def parse(source: str) -> ast.Module:
    """The tree of a module.

    Raises:
        SyntaxError: The source does not parse.
    """
    with _one_at_a_time:
        return ast.parse(source)


def expression_tree(source: str) -> ast.expr:
    """The tree of an expression.

    Raises:
        SyntaxError: The source is none.
    """
    with _one_at_a_time:
        return ast.parse(source, mode="eval").body


def literal(source: str) -> Any:
    """The value of a literal.

    Raises:
        ValueError: The source is none.
        SyntaxError: The source does not parse.
    """
    with _one_at_a_time:
        return ast.literal_eval(source)
