"""Names of local variables: which a statement binds, and one canonical name for each."""

import ast
from collections.abc import Iterator

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
# What binds names in ways that renaming would have to follow; functions with these keep their names.
_LEFT_ALONE = (
    ast.ClassDef, ast.Global, ast.Nonlocal, ast.Import, ast.ImportFrom, ast.Match, ast.NamedExpr, ast.FunctionDef,
    ast.AsyncFunctionDef,
)  # fmt: skip


def bound_names(node: ast.AST) -> list[str]:
    """The names that a node by itself, without those inside it, binds in the scope it stands in."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.Name):
        return [node.id] if isinstance(node.ctx, ast.Store | ast.Del) else []
    if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
        return [node.name] if node.name else []
    if isinstance(node, ast.MatchMapping):
        return [node.rest] if node.rest else []
    return []


def rename_locals(tree: ast.Module) -> None:
    """Give the local variables of every function canonical names, in the order of their first mention.

    Args:
        tree: Changed in place. Arguments keep their names, which callers may use; so do functions that bind names in
            ways other than assignments, loops and `with`.
    """
    for node in _outermost(tree):
        _rename(node)


def _outermost(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
        else:
            yield from _outermost(child)


def _rename(function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    inside = [node for statement in function.body for node in ast.walk(statement)]
    if any(isinstance(node, _LEFT_ALONE) for node in inside):
        return
    arguments = {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
    local = {name for node in inside for name in bound_names(node)} - arguments
    # A comprehension's variables are of its own scope. One of which the name is also used where no comprehension binds
    # it keeps its name, since one new name could not say which is meant.
    hidden = {name for node in inside if isinstance(node, COMPREHENSIONS) for name in _variables(node)}
    both = {name for statement in function.body for name in _free(statement, frozenset()) if name in hidden}
    local -= both
    fresh = {name: f"%{place}" for place, name in enumerate(_in_order(inside, local))}
    for node in inside:
        if isinstance(node, ast.Name) and node.id in fresh:
            node.id = fresh[node.id]
        elif isinstance(node, ast.ExceptHandler) and node.name in fresh:
            node.name = fresh[node.name]


def _variables(comprehension: ast.AST) -> set[str]:
    """The names that a comprehension binds."""
    targets = [generator.target for generator in comprehension.generators]  # type: ignore[attr-defined]
    return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}


def _free(node: ast.AST, bound: frozenset[str]) -> Iterator[str]:
    """The names that are mentioned where no comprehension around binds them."""
    if isinstance(node, ast.Name):
        if node.id not in bound:
            yield node.id
        return
    inner = bound | _variables(node) if isinstance(node, COMPREHENSIONS) else bound
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.comprehension):
            yield from _free(child.iter, bound)
            for part in (child.target, *child.ifs):
                yield from _free(part, inner)
        else:
            yield from _free(child, inner)


def _in_order(inside: list[ast.AST], names: set[str]) -> list[str]:
    order: dict[str, None] = {}
    for node in inside:
        name = node.id if isinstance(node, ast.Name) else node.name if isinstance(node, ast.ExceptHandler) else None
        if name in names and not name.startswith("__"):
            order.setdefault(name)
    return list(order)
