"""Values computed from references, `run_3:core.l0 - topk:core.l0`: a few forms, in which nothing but results counts.

There is no free arithmetic. A value is a result, a sum or a difference of results of one metric, a ratio of such, or a
product of two results; besides, it may be given in percent or in another unit. So no number that somebody typed can
move it, no result cancels out, and none stands there for the look of it.
"""

import ast
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from agent.base.errors import AgentError
from agent.base.syntax import expression_tree
from agent.results.read import Value

LONGEST = 300
REFERENCE = re.compile(r"(?P<source>[a-z][a-z0-9_]*):(?P<metric>[a-z_]+\.[A-Za-z0-9_]+)")
# The numbers that may be typed, each with the words of which one has to stand with the value, so that it shows.
CONVERSIONS: dict[float, str] = {
    100.0: r"%|percent|per cent|points",
    1e3: r"milli|thousandth|\bm\w{0,5}\b",
    1e-3: r"thousand|\bkilo|\bk\b",
    1e-6: r"million|\bM\b",
    1 / 60: r"\bmin",
    1 / 3600: r"hour|\bh\b",
}
Lookup = Callable[[str, str], Value | None]
Form = Literal["result", "sum", "difference", "ratio", "product"]
_FORMS = (
    "write a result, a sum or a difference of results of one metric, a ratio of such, percent(value, base) or "
    "abs(difference), times 100 or a unit (1000, 60, 3600)"
)


@dataclass(frozen=True)
class Term:
    """A reference inside an expression."""

    source: str
    metric: str

    def __str__(self) -> str:
        return f"{self.source}:{self.metric}"


@dataclass(frozen=True)
class Amount:
    """A result, the sum of several or the difference of two, all of one metric and none of them twice."""

    terms: tuple[Term, ...]
    minus: bool = False

    def __post_init__(self) -> None:
        if len({term.metric for term in self.terms}) > 1:
            metrics = " and ".join(dict.fromkeys(term.metric for term in self.terms))
            raise AgentError(f"{metrics} cannot be added or subtracted: only a ratio may have two metrics")
        if len(set(self.terms)) < len(self.terms):
            raise AgentError("a result stands twice in a sum or difference")
        if self.minus and len(self.terms) != 2:
            raise AgentError("a difference has two results")

    def value(self, numbers: dict[Term, float]) -> float:
        """The number that it comes to."""
        first, *rest = (numbers[term] for term in self.terms)
        return first - sum(rest) if self.minus else first + sum(rest)


@dataclass(frozen=True)
class Expression:
    """A value computed from references.

    Args:
        text: As it was written.
        over: What is given, or what is divided.
        under: What it is divided by.
        factor: What it is multiplied by.
        conversion: A number of `CONVERSIONS`, or 1.
        absolute: Whether its sign is left out.
    """

    text: str
    over: Amount
    under: Amount | None = None
    factor: Amount | None = None
    conversion: float = 1.0
    absolute: bool = False

    @property
    def terms(self) -> tuple[Term, ...]:
        """Its references, each once, in their order."""
        amounts = (self.over, self.factor, self.under)
        return tuple(dict.fromkeys(term for amount in amounts if amount for term in amount.terms))

    @property
    def form(self) -> Form:
        """The kind of value that it is."""
        if self.factor:
            return "product"
        if self.under:
            return "ratio"
        return "result" if len(self.over.terms) == 1 else "difference" if self.over.minus else "sum"

    @property
    def plain(self) -> bool:
        """Tell whether it is one result in its own unit."""
        return self.form == "result" and self.conversion == 1

    @property
    def mixed(self) -> bool:
        """Tell whether it is made of several metrics."""
        return len({term.metric for term in self.terms}) > 1

    def value(self, lookup: Lookup) -> float:
        """The number that it comes to.

        Args:
            lookup: From a source and a metric to its value.

        Raises:
            AgentError: A reference leads nowhere, or there is no finite result.
        """
        numbers = {}
        for term in self.terms:
            found = lookup(term.source, term.metric)
            if found is None:
                raise AgentError(f"{term} leads to no result")
            numbers[term] = found.value
        result = self.over.value(numbers)
        if self.factor:
            result *= self.factor.value(numbers)
        if self.under:
            base = self.under.value(numbers)
            if base == 0:
                raise AgentError(f"{self.text} cannot be computed: its base is 0")
            result /= base
        result *= self.conversion
        if not math.isfinite(result):
            raise AgentError(f"{self.text} has no finite value")
        return abs(result) if self.absolute else result

    def percentages(self) -> list[tuple[Term, Term, Term]]:
        """A relative change `(a - b) / c` of plain references, as a, b and the base c."""
        if not (self.over.minus and self.under and len(self.under.terms) == 1):
            return []
        own, base = self.over.terms
        return [(own, base, self.under.terms[0])]


def parse_expression(text: str) -> Expression:
    """Read a value that is computed from references.

    Args:
        text: For example `percent(run_3:core.l0, topk:core.l0)`.

    Returns:
        The expression.

    Raises:
        AgentError: It is too long, names no reference, or has none of the forms that there are.
    """
    if len(text) > LONGEST:
        raise AgentError(f"an expression of {len(text)} characters is too long: use at most {LONGEST}")
    terms: dict[str, Term] = {}

    def stand_in(found: re.Match[str]) -> str:
        name = f"r{len(terms)}"
        terms[name] = Term(found["source"], found["metric"])
        return f" {name} "

    replaced = REFERENCE.sub(stand_in, text.replace("\\_", "_"))
    try:
        tree = expression_tree(replaced.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise AgentError(f"{text!r} is no value made of references such as run_3:core.l0; {_FORMS}") from error
    if not terms:
        raise AgentError(f"{text!r} names no result: write references such as run_3:core.l0")
    try:
        return replace(_Reader(terms).read(tree), text=text)
    except AgentError as error:
        raise AgentError(f"{text!r}: {error}; {_FORMS}") from error


class _Reader:
    """Reads a syntax tree as one of the forms that a value may have.

    Args:
        terms: The references, by the names that stand for them in the tree.
    """

    def __init__(self, terms: dict[str, Term]) -> None:
        self.terms = terms

    def read(self, node: ast.expr) -> Expression:
        match node:
            case ast.BinOp(left=ast.Constant() as number, op=ast.Mult(), right=inner):
                return self._converted(self.read(inner), _number(number))
            case ast.BinOp(left=inner, op=ast.Mult(), right=ast.Constant() as number):
                return self._converted(self.read(inner), _number(number))
            case ast.BinOp(left=inner, op=ast.Div(), right=ast.Constant() as number):
                return self._converted(self.read(inner), 1 / (_number(number) or math.inf))
            case ast.BinOp(left=over, op=ast.Mult(), right=factor):
                return self._product(self.read(over), self._amount(factor))
            case ast.BinOp(left=over, op=ast.Div(), right=under):
                return self._ratio(self.read(over), self._amount(under))
            case ast.Call(func=ast.Name(id="percent"), args=[ast.Name() as own, ast.Name() as base], keywords=[]):
                difference = ast.BinOp(own, ast.Sub(), base)
                return self._converted(self._ratio(self.read(difference), self._amount(base)), 100.0)
            case ast.Call(func=ast.Name(id="abs"), args=[inner], keywords=[]):
                found = self.read(inner)
                if not found.over.minus:
                    raise AgentError("abs is for differences")
                return replace(found, absolute=True)
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return self._turned(self.read(inner))
        return Expression("", self._amount(node))

    def _amount(self, node: ast.expr) -> Amount:
        match node:
            case ast.Name(id=name) if name in self.terms:
                return Amount((self.terms[name],))
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                first, second = self._amount(left), self._amount(right)
                if first.minus or second.minus:
                    raise AgentError("a sum has no differences in it")
                return Amount((*first.terms, *second.terms))
            case ast.BinOp(left=left, op=ast.Sub(), right=right):
                return Amount((*self._amount(left).terms, *self._amount(right).terms), minus=True)
        raise AgentError("there is more in it than references, or a number that would move the value")

    def _converted(self, inner: Expression, number: float) -> Expression:
        known = next((one for one in CONVERSIONS if math.isclose(one, number)), None)
        if known is None or inner.conversion != 1:
            raise AgentError("a typed number would move the value")
        return replace(inner, conversion=known)

    def _ratio(self, inner: Expression, under: Amount) -> Expression:
        both = set(inner.over.terms) & set(under.terms)
        if inner.under or inner.factor or (inner.absolute and under.minus):
            raise AgentError("a ratio has one divisor")
        # A relative change has its base twice, and two differences may have a side in common; else results cancel.
        if set(inner.over.terms) == set(under.terms) or (both and not inner.over.minus):
            raise AgentError("a result is divided by itself")
        return replace(inner, under=under)

    def _product(self, inner: Expression, factor: Amount) -> Expression:
        if inner.form != "result" or len(factor.terms) != 1 or inner.over.terms[0].metric == factor.terms[0].metric:
            raise AgentError("only two results of different metrics can be multiplied")
        return replace(inner, factor=factor)

    def _turned(self, inner: Expression) -> Expression:
        if not inner.over.minus or inner.absolute:
            raise AgentError("only a difference can be turned round")
        return replace(inner, over=Amount(inner.over.terms[::-1], minus=True))


def _number(node: ast.Constant) -> float:
    if isinstance(node.value, bool) or not isinstance(node.value, int | float):
        raise AgentError("there is more in it than references")
    return float(node.value)
