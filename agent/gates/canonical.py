"""A program's normal form: programs that can't be told apart by running them get the same one, as far as that is sure.

Set aside are comments, layout, docstrings, code that is never reached, unused definitions, assignments that are never
read, and the names of local variables. Two programs that behave differently never get the same form: where that is not
certain (names looked up at run time, decorators, class bodies, what may have an effect), a thing is left as it is.
"""

import ast
import builtins
import json
import operator
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from agent.base.files import sha256
from agent.base.syntax import parse
from agent.gates import scopes

# Names that look others up, so that no definition can be called unused and no variable renamed.
_INTROSPECTION = {
    "__builtins__", "__dict__", "__globals__", "__import__", "__init_subclass__", "__subclasses__", "breakpoint",
    "compile", "delattr", "dir", "eval", "exec", "f_globals", "f_locals", "getattr", "globals", "hasattr", "importlib",
    "inspect", "locals", "modules", "pickle", "setattr", "vars",
}  # fmt: skip
_PURE_MODULES = {
    "abc", "argparse", "bisect", "collections", "contextlib", "copy", "csv", "dataclasses", "enum", "functools",
    "heapq", "itertools", "json", "math", "numbers", "operator", "random", "re", "statistics", "string", "sys", "time",
    "typing",
}  # fmt: skip
_ENDS = (ast.Return, ast.Raise, ast.Continue, ast.Break)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SCOPES = (*_FUNCTIONS, ast.Lambda, ast.ClassDef)
_BLOCKS = ("body", "orelse", "finalbody")
_ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}
_WORD = re.compile(r"\w+")
_ROUNDS = 20


def code_key(source: str, settings: Mapping[str, object] | None = None) -> str:
    """A hash of what a program does under given settings.

    Args:
        source: Python source text.
        settings: What the program is given from outside, JSON values only.

    Returns:
        The same text for programs that differ in nothing that runs.

    Raises:
        SyntaxError: The source does not parse.
    """
    return sha256(canonical(source) + json.dumps(settings or {}, sort_keys=True))


def canonical(source: str) -> str:
    """The normal form of a program.

    Args:
        source: Python source text.

    Returns:
        A dump of its normalised syntax tree.

    Raises:
        SyntaxError: The source does not parse.
    """
    tree = parse(source)
    names = _all_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            node.kind = None
    if "__doc__" in names or "__doc__" in _words(tree):
        return ast.dump(tree)
    _strip_docstrings(tree)
    if names & _INTROSPECTION or _star_import(tree):
        return ast.dump(tree)
    tree = _Folded().visit(tree)
    for _ in range(_ROUNDS):
        before = ast.dump(tree)
        _drop_unreachable(tree)
        _drop_unused_definitions(tree)
        _drop_unread_locals(tree)
        if ast.dump(tree) == before:
            break
    scopes.rename_locals(tree)
    return ast.dump(tree)


class _Folded(ast.NodeTransformer):
    """Sums, differences, products and quotients of numbers, worked out as Python itself does."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        left, right = _number(node.left), _number(node.right)
        if left is None or right is None:
            return node
        if isinstance(node.op, ast.Div) and right != 0:
            return ast.Constant(left / right)
        work = _ARITHMETIC.get(type(node.op))
        return ast.Constant(work(left, right)) if work else node


def _number(node: ast.expr) -> float | int | None:
    value = node.value if isinstance(node, ast.Constant) else None
    if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) >= 1e15:
        return None
    return value


def _strip_docstrings(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and _is_text(first.value):
                node.body = node.body[1:] or ([] if isinstance(node, ast.Module) else [ast.Pass()])


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _drop_unreachable(tree: ast.Module) -> None:
    """Cut what follows a return, branches on constants, bare literals and superfluous `pass`."""
    _tidy_blocks(tree, function=None)


def _tidy_blocks(node: ast.AST, function: ast.AST | None) -> None:
    inner = (
        node if isinstance(node, (*_FUNCTIONS, ast.Lambda)) else None if isinstance(node, ast.ClassDef) else function
    )
    for name in _BLOCKS:
        block = getattr(node, name, None)
        if isinstance(block, list):
            tidy = _tidy(block, inner)
            setattr(node, name, tidy if tidy or name != "body" or isinstance(node, ast.Module) else [ast.Pass()])
    for child in ast.iter_child_nodes(node):
        _tidy_blocks(child, inner)


def _tidy(block: list[ast.stmt], function: ast.AST | None) -> list[ast.stmt]:
    kept: list[ast.stmt] = []
    for place, statement in enumerate(block):
        if isinstance(statement, ast.Pass) or (
            isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        ):
            continue
        taken, dead = _branch(statement)
        if dead is not None and _can_go(dead, function):
            kept += _tidy(taken, function)
        else:
            kept.append(statement)
        if isinstance(statement, _ENDS) and _can_go(block[place + 1 :], function):
            break
    return kept


def _branch(statement: ast.stmt) -> tuple[list[ast.stmt], list[ast.stmt] | None]:
    """The branch of an `if` on a constant that is executed, and the other; None for any other statement."""
    if isinstance(statement, ast.If) and isinstance(statement.test, ast.Constant):
        parts = (statement.body, statement.orelse)
        return parts if statement.test.value else parts[::-1]
    if isinstance(statement, ast.While) and isinstance(statement.test, ast.Constant) and not statement.test.value:
        return statement.orelse, statement.body
    return [], None


def _can_go(dead: list[ast.stmt], function: ast.AST | None) -> bool:
    """Tell if code that is never reached can be cut: it must not decide what kind of function it stands in, or which
    names are local to it."""
    inside = [node for statement in dead for node in ast.walk(statement)]
    if any(isinstance(node, ast.Yield | ast.YieldFrom | ast.Await | ast.Global | ast.Nonlocal) for node in inside):
        return False
    if function is None:
        return True
    gone = set(map(id, inside))
    arguments = {node.arg for node in ast.walk(function.args) if isinstance(node, ast.arg)}  # type: ignore[attr-defined]
    local = arguments | {name for node in _own(function, gone) for name in scopes.bound_names(node)}
    bound = {name for node in inside for name in scopes.bound_names(node)} - local
    return not bound & {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and id(node) not in gone}


def _own(function: ast.AST, gone: set[int]) -> Iterator[ast.AST]:
    """The nodes of a function that are of its own scope, without those that are to be cut."""
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        if id(node) in gone:
            continue
        yield node
        if not isinstance(node, (*_SCOPES, *scopes.COMPREHENSIONS)):
            waiting.extend(ast.iter_child_nodes(node))


def _drop_unused_definitions(tree: ast.Module) -> None:
    """Cut functions, classes, constants and imports of the module that nothing refers to."""
    stored = Counter(name for node in ast.walk(tree) for name in scopes.bound_names(node))
    words, mentions = _words(tree), _mentions(tree)
    # Bound at the top before anything runs that could want them: only these are sure not to raise.
    sure = set(dir(builtins))
    kept: list[ast.stmt] = []
    for statement in tree.body:
        names = _bound_by(statement)
        own = Counter(node.id for node in ast.walk(statement) if isinstance(node, ast.Name))
        mentioned = mentions - own
        free = all(stored[name] == 1 and not mentioned[name] and name not in words for name in names)
        if not (names and free and not any(_dunder(name) for name in names) and _pure(statement, sure, tree)):
            kept.append(statement)
        sure.update(names)
        if isinstance(statement, ast.Delete):
            sure.clear()
    if len(kept) < len(tree.body):
        tree.body = kept


def _bound_by(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.Assign):
        return [target.id for target in statement.targets if isinstance(target, ast.Name)]
    return scopes.bound_names(statement)


def _dunder(name: str) -> bool:
    return name.startswith("__")


def _pure(statement: ast.stmt, sure: set[str], tree: ast.Module) -> bool:
    """Tell whether a statement of the module does nothing but bind its names."""
    if isinstance(statement, ast.Assign):
        return all(isinstance(target, ast.Name) for target in statement.targets) and _value(statement.value)
    if isinstance(statement, ast.Import):
        return all(alias.name in _PURE_MODULES for alias in statement.names)
    if isinstance(statement, _FUNCTIONS):
        return _pure_function(statement, sure)
    if isinstance(statement, ast.ClassDef):
        return _pure_class(statement, sure, tree)
    return False


def _pure_function(node: ast.FunctionDef | ast.AsyncFunctionDef, sure: set[str]) -> bool:
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    annotations = [item.annotation for item in every if item is not None] + [node.returns]
    defaults = [*arguments.defaults, *(value for value in arguments.kw_defaults if value is not None)]
    return (
        not node.decorator_list
        and all(map(_value, defaults))
        and all(item is None or _annotation(item, sure) for item in annotations)
    )


def _pure_class(node: ast.ClassDef, sure: set[str], tree: ast.Module) -> bool:
    """A class may register itself with its base, so only bases that are known not to ask for that pass."""
    if node.keywords or node.decorator_list or not _tame(node, tree, sure):
        return False
    return all(
        (isinstance(item, _FUNCTIONS) and _pure_function(item, sure) and not _dunder_hook(item.name))
        or isinstance(item, ast.Pass)
        or (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant))
        or (
            isinstance(item, ast.Assign)
            and all(isinstance(target, ast.Name) and not _dunder(target.id) for target in item.targets)
            and _value(item.value)
        )
        for item in node.body
    )


def _tame(node: ast.ClassDef, tree: ast.Module, sure: set[str]) -> bool:
    """Tell whether all bases are `object`, `nn.Module`, or classes of this file of which the same is true."""
    classes = {item.name: item for item in tree.body if isinstance(item, ast.ClassDef)}
    torch_nn = any(
        isinstance(item, ast.ImportFrom)
        and item.module == "torch"
        and any(a.name == "nn" and not a.asname for a in item.names)
        for item in tree.body
    )
    for base in node.bases:
        if torch_nn and "nn" in sure and ast.unparse(base) == "nn.Module":
            continue
        if not (isinstance(base, ast.Name) and base.id in sure):
            return False
        if base.id == "object" and base.id not in classes:
            continue
        known = classes.get(base.id)
        if known is None or known is node or known.keywords or not _tame(known, tree, sure):
            return False
    return True


def _dunder_hook(name: str) -> bool:
    return name in ("__init_subclass__", "__set_name__", "__class_getitem__", "__prepare__")


def _value(node: ast.expr) -> bool:
    """A literal: nothing that could raise or do anything."""
    if isinstance(node, ast.Constant):
        return True
    if isinstance(node, ast.Tuple | ast.List):
        return all(map(_value, node.elts))
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and _number(node.operand) is not None


def _annotation(node: ast.expr, sure: set[str]) -> bool:
    """A name that is sure to be bound, or a literal; anything else could raise."""
    return isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id in sure)


def _drop_unread_locals(tree: ast.Module) -> None:
    """Cut assignments of literals to local variables that are never read."""
    for function in ast.walk(tree):
        if not isinstance(function, _FUNCTIONS):
            continue
        outside = {
            name for node in ast.walk(function) if isinstance(node, ast.Global | ast.Nonlocal) for name in node.names
        }
        read = {
            node.id for node in ast.walk(function) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store)
        }
        augmented = {
            node.target.id
            for node in ast.walk(function)
            if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name)
        }
        _cut_assignments(function, outside | read | augmented)


def _cut_assignments(node: ast.AST, needed: set[str]) -> None:
    for name in _BLOCKS:
        block = getattr(node, name, None)
        if isinstance(block, list):
            kept = [item for item in block if not _is_unread(item, needed)]
            setattr(node, name, kept if kept or name != "body" else [ast.Pass()])
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, _SCOPES):
            _cut_assignments(child, needed)


def _is_unread(statement: ast.AST, needed: set[str]) -> bool:
    return (
        isinstance(statement, ast.Assign)
        and _value(statement.value)
        and all(isinstance(target, ast.Name) and target.id not in needed for target in statement.targets)
    )


def _mentions(tree: ast.AST) -> Counter[str]:
    """The number of mentions of each name, as a variable or as an attribute."""
    found = Counter(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    found.update(node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    found.update(node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg)
    found.update(name for node in ast.walk(tree) if isinstance(node, ast.Global | ast.Nonlocal) for name in node.names)
    return found


def _all_names(tree: ast.AST) -> set[str]:
    imported = {
        part
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        for part in alias.name.split(".")
    }
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    defined = {name for node in ast.walk(tree) for name in scopes.bound_names(node)}
    return set(_mentions(tree)) | imported | modules | defined


def _words(tree: ast.AST) -> set[str]:
    """Words in texts: a forward reference, or a name that is looked up."""
    texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return {word for text in texts for word in _WORD.findall(text)}


def _star_import(tree: ast.AST) -> bool:
    return any(alias.name == "*" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names)
