"""Arithmetic over references, `run_3:core.l0 - topk:core.l0`, evaluated by walking its syntax tree, never by `eval`."""

import ast
import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from agent.base.errors import AgentError
from agent.base.syntax import expression_tree
from agent.results.references import Lookup

LONGEST = 300
REFERENCE = re.compile(r"(?P<source>[a-z][a-z0-9_]*):(?P<metric>[a-z_]+\.[A-Za-z0-9_]+)")

_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def percent(value: float, base: float) -> float:
    """By how many percent of `base` a value differs from it."""
    return 100 * (value - base) / base


FUNCTIONS: dict[str, Callable[..., float]] = {"percent": percent, "abs": abs, "min": min, "max": max}


@dataclass(frozen=True)
class Term:
    """A reference inside an expression."""

    source: str
    metric: str

    def __str__(self) -> str:
        return f"{self.source}:{self.metric}"


@dataclass(frozen=True)
class Expression:
    """Arithmetic over references, taken apart.

    Args:
        text: As it was written.
        terms: Its references, in their order.
        tree: Its syntax tree, in which `r0` stands for the first reference and so on.
    """

    text: str
    terms: tuple[Term, ...]
    tree: ast.expr

    def value(self, lookup: Lookup) -> float:
        """The number that it comes to.

        Args:
            lookup: From a source and a metric to its value.

        Raises:
            AgentError: A reference leads nowhere, or the arithmetic has no finite result.
        """
        numbers = {}
        for place, term in enumerate(self.terms):
            found = lookup(term.source, term.metric)
            if found is None:
                raise AgentError(f"{term} leads to no result")
            numbers[f"r{place}"] = found.value
        try:
            result = _walk(self.tree, numbers)
        except (ArithmeticError, TypeError) as error:
            raise AgentError(f"{self.text} cannot be computed: {error}") from error
        if not math.isfinite(result):
            raise AgentError(f"{self.text} has no finite value")
        return result

    def percentages(self) -> list[tuple[Term, Term, Term]]:
        """Each `(a - b) / c` and `percent(a, b)` over plain references, as a, b and the base c."""
        found = []
        for node in ast.walk(self.tree):
            match node:
                case ast.BinOp(
                    left=ast.BinOp(left=ast.Name(id=a), op=ast.Sub(), right=ast.Name(id=b)),
                    op=ast.Div(),
                    right=ast.Name(id=c),
                ):
                    found.append((a, b, c))
                case ast.BinOp(
                    left=ast.BinOp(
                        op=ast.Mult(),
                        right=ast.BinOp(left=ast.Name(id=a), op=ast.Sub(), right=ast.Name(id=b)),
                    ),
                    op=ast.Div(),
                    right=ast.Name(id=c),
                ):
                    found.append((a, b, c))
                case ast.Call(func=ast.Name(id="percent"), args=[ast.Name(id=a), ast.Name(id=b)]):
                    found.append((a, b, b))
        return [(self._term(a), self._term(b), self._term(c)) for a, b, c in found]

    def _term(self, name: str) -> Term:
        return self.terms[int(name[1:])]


def parse_expression(text: str) -> Expression:
    """Read arithmetic over references: `+ - * /`, parentheses, numbers, and `percent(a, b)`, `abs`, `min`, `max`.

    Args:
        text: For example `percent(run_3:core.l0, topk:core.l0)`.

    Returns:
        The expression.

    Raises:
        AgentError: It is too long, names no reference, or holds anything else.
    """
    if len(text) > LONGEST:
        raise AgentError(f"an expression of {len(text)} characters is too long: use at most {LONGEST}")
    terms: list[Term] = []

    def stand_in(found: re.Match[str]) -> str:
        terms.append(Term(found["source"], found["metric"]))
        return f" r{len(terms) - 1} "

    replaced = REFERENCE.sub(stand_in, text.replace("\\_", "_"))
    try:
        tree = expression_tree(replaced.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise AgentError(f"{text!r} is no arithmetic over references such as run_3:core.l0") from error
    names = {f"r{place}" for place in range(len(terms))}
    if not names:
        raise AgentError(f"{text!r} names no result: write references such as run_3:core.l0")
    for node in ast.walk(tree):
        _check(node, names, text)
    return Expression(text, tuple(terms), tree)


def _check(node: ast.AST, names: set[str], text: str) -> None:
    match node:
        case ast.BinOp(op=op) if type(op) in _OPERATORS:
            return
        case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
            return
        case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
            return
        case ast.Name(id=name) if name in names or name in FUNCTIONS:
            return
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in FUNCTIONS:
            return
        case ast.operator() | ast.unaryop() | ast.expr_context():
            return
    allowed = ", ".join(FUNCTIONS)
    raise AgentError(f"{text!r} holds more than arithmetic: only + - * /, parentheses, numbers and {allowed}")


def _walk(node: ast.expr, numbers: dict[str, float]) -> float:
    match node:
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_walk(left, numbers), _walk(right, numbers))
        case ast.UnaryOp(op=op, operand=operand):
            inner = _walk(operand, numbers)
            return -inner if isinstance(op, ast.USub) else inner
        case ast.Constant(value=value):
            return float(str(value))
        case ast.Call(func=ast.Name(id=name), args=args):
            return float(FUNCTIONS[name](*(_walk(arg, numbers) for arg in args)))
        case ast.Name(id=name) if name in numbers:
            return numbers[name]
    raise TypeError("a function stands where a number should")
