"""Which changed lines of an edit did not run, whether they might still in the real run, and what an edit wrote."""

import ast
import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from agent.base.syntax import parse

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_LOOPS = (ast.For, ast.While, ast.AsyncFor)
# What is known before training begins: a condition on nothing else is the same in every step.
_SETTINGS = {"self", "cfg", "config", "run"}


@dataclass(frozen=True)
class Region:
    """A part of a file that did not run.

    Args:
        first: Its first line.
        last: Its last line.
        what: Why it did not run, in plain words.
        later: Whether it may run in the real run: its condition depends on the data or on how far training is.
    """

    first: int
    last: int
    what: str
    later: bool

    def __str__(self) -> str:
        lines = f"line {self.first}" if self.first == self.last else f"lines {self.first}-{self.last}"
        return f"{lines}: {self.what}"


def changed_lines(old: str, new: str) -> set[int]:
    """The lines of the new text, from 1, that the old one does not have at their place.

    A line that was only indented is none: what is put behind a switch that is off, as an ablation does, is kept code.
    """
    before, after = ([line.strip() for line in text.splitlines()] for text in (old, new))
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    return {
        line + 1 for kind, _, _, first, last in matcher.get_opcodes() if kind != "equal" for line in range(first, last)
    }


def never_ran(old: str, new: str, ran: set[int]) -> list[Region]:
    """The parts that an edit changed and that did not run.

    Args:
        old: The file before the edit.
        new: The file after it.
        ran: The lines of the new file that ran, as coverage counts them.

    Returns:
        The outermost parts, in order. Left out are parts that rightly stay idle: what raises or returns early, handlers
        of exceptions, the other arm of a condition that the same edit wrote, and classes and functions that were there
        before, when another part of the edit ran.
    """
    tree, changed = parse(new), changed_lines(old, new)
    there = {node.name for node in ast.walk(parse(old)) if isinstance(node, (*_FUNCTIONS, ast.ClassDef))}
    reader = _Reader(changed, ran, there)
    reader.some_ran = any(_inside_function(tree, line) and line in ran for line in changed)
    return list(reader.regions(tree.body))


def wrote(old: str, new: str, line: int) -> bool:
    """Tell whether an edit wrote what stands on a line, or a function that it calls.

    Args:
        old: The file before the edit.
        new: The file after it.
        line: A line of the new file.
    """
    tree, changed = parse(new), changed_lines(old, new)
    functions = [node for node in ast.walk(tree) if isinstance(node, _FUNCTIONS)]
    around = [node for node in ast.walk(tree) if isinstance(node, ast.stmt) and not hasattr(node, "body")]
    waiting: list[ast.stmt] = [node for node in around if node.lineno <= line <= (node.end_lineno or node.lineno)]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if changed & set(range(node.lineno, (node.end_lineno or node.lineno) + 1)):
            return True
        seen.add(id(node))
        called = {_called(inner.func) for inner in ast.walk(node) if isinstance(inner, ast.Call)}
        waiting += [item for item in functions if item.name in called and id(item) not in seen]
    return False


def _called(function: ast.expr) -> str:
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )


class _Reader:
    def __init__(self, changed: set[int], ran: set[int], there: set[str]) -> None:
        self.changed = changed
        self.ran = ran
        self.there = there
        self.some_ran = False

    def regions(self, block: list[ast.stmt]) -> Iterator[Region]:
        """The parts of a block, which itself was reached, that were changed and did not run."""
        for place, statement in enumerate(block):
            if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
                yield from self._definition(statement)
            elif not self._header_ran(statement):
                rest = block[place:]
                if self._changed(rest) and not isinstance(statement, ast.Pass | ast.Global | ast.Nonlocal):
                    yield self._after(block[:place], rest)
                return
            else:
                yield from self._compound(statement)

    def _definition(self, node: ast.stmt) -> Iterator[Region]:
        assert isinstance(node, (*_FUNCTIONS, ast.ClassDef))
        body = _code(node.body)
        if isinstance(node, ast.ClassDef):
            methods = [item for item in body if isinstance(item, _FUNCTIONS)]
            used = not methods or any(self._any_ran(_code(method.body)) for method in methods)
            if used:
                forward = any(item.name == "forward" and self._any_ran(_code(item.body)) for item in methods)
                # The backward pass of a function of one's own runs in another thread on a GPU, where no line is seen.
                hidden = "backward" if forward else ""
                yield from self.regions([item for item in body if getattr(item, "name", None) != hidden])
                return
            what = f"class {node.name} is never used"
        elif self._any_ran(body):
            yield from self.regions(body)
            return
        else:
            what = f"{node.name}() is never called"
        described = node.name.startswith("__") or node.name == "extra_repr"
        if self._changed(body) and not described and not (node.name in self.there and self.some_ran):
            # What was there before is called somewhere: on a condition that a longer run may meet.
            later = node.name in self.there and not isinstance(node, ast.ClassDef)
            yield Region(node.lineno, node.end_lineno or node.lineno, what, later)

    def _compound(self, node: ast.stmt) -> Iterator[Region]:
        if isinstance(node, ast.If):
            arms = [(node.body, node.orelse, True), (node.orelse, node.body, False)]
            for arm, other, truth in arms:
                if not arm:
                    continue
                if self._any_ran(arm):
                    yield from self.regions(arm)
                elif self._changed(arm) and not _leaves(arm) and not (self._any_ran(other) and self._changed(other)):
                    test = ast.unparse(node.test)
                    what = f"never ran: `{_short(test)}` was never {'true' if truth else 'false'}"
                    yield _region(arm, what, not _fixed(node.test))
        elif isinstance(node, _LOOPS):
            source = node.test if isinstance(node, ast.While) else node.iter
            if self._any_ran(node.body):
                yield from self.regions(node.body)
            elif self._changed(node.body):
                yield _region(
                    node.body, f"never ran: the loop over `{_short(ast.unparse(source))}` was empty", not _fixed(source)
                )
            yield from self.regions(node.orelse) if self._any_ran(node.orelse) else ()
        elif isinstance(node, ast.With | ast.AsyncWith | ast.Try):
            yield from self.regions(node.body)

    def _after(self, before: list[ast.stmt], rest: list[ast.stmt]) -> Region:
        exits = [item for item in before if isinstance(item, ast.If | ast.For | ast.While | ast.Try | ast.With)]
        tests = [item.test for item in exits if isinstance(item, ast.If | ast.While)]
        later = bool(exits) and not all(map(_fixed, tests))
        return _region(rest, "never ran: the lines before always leave", later)

    def _header_ran(self, node: ast.stmt) -> bool:
        body = getattr(node, "body", None)
        last = body[0].lineno - 1 if isinstance(body, list) and body else node.end_lineno or node.lineno
        silent = isinstance(node, ast.Pass | ast.Global | ast.Nonlocal) or _is_text(node)
        # `else:` of a chain, `with` and `try` on one line: what is inside says as much.
        inside = isinstance(body, list) and self._any_ran(body)
        return silent or inside or any(line in self.ran for line in range(node.lineno, max(last, node.lineno) + 1))

    def _any_ran(self, block: list[ast.stmt]) -> bool:
        return any(line in self.ran for item in block for line in range(item.lineno, (item.end_lineno or 0) + 1))

    def _changed(self, block: list[ast.stmt]) -> bool:
        return any(
            line in self.changed
            for item in _code(block)
            for node in ast.walk(item)
            if isinstance(node, ast.stmt) and not _is_text(node)
            for line in range(node.lineno, _own_end(node) + 1)
        )


def _region(block: list[ast.stmt], what: str, later: bool) -> Region:
    return Region(block[0].lineno, block[-1].end_lineno or block[-1].lineno, what, later)


def _own_end(node: ast.stmt) -> int:
    body = getattr(node, "body", None)
    return max(node.lineno, body[0].lineno - 1) if isinstance(body, list) and body else node.end_lineno or node.lineno


def _code(block: list[ast.stmt]) -> list[ast.stmt]:
    return [item for item in block if not _is_text(item)]


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _leaves(block: list[ast.stmt]) -> bool:
    """Tell whether a block only leaves: a check, or an early return."""
    return len(block) <= 2 and isinstance(block[-1], ast.Raise | ast.Return | ast.Continue | ast.Break | ast.Pass)


def _fixed(test: ast.expr) -> bool:
    """Tell whether a condition is decided by settings and constants alone."""
    names = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
    calls = any(isinstance(node, ast.Call) for node in ast.walk(test))
    return not calls and all(name in _SETTINGS or name.isupper() for name in names)


def _inside_function(tree: ast.Module, line: int) -> bool:
    return any(
        isinstance(node, _FUNCTIONS) and node.body[0].lineno <= line <= (node.end_lineno or 0)
        for node in ast.walk(tree)
    )


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
