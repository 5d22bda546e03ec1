"""The limits of an experiment: a reading of its syntax tree that says, line by line, what belongs to the lab.

The file gets its data, seed and budget from `lab.training` and gives back an SAE; for that it needs no files, no
processes, no clock, no other module of the lab, and no hand on any object but its own. So that what it touches can be
read off it, each attribute is written out, private ones are its own classes', and a module is named, not handed on
(`agent/gates/names.py`). What a reading can't see (what depends on the data) is looked at while it runs (`lab.smoke`),
by the lab's objects themselves (`lab.batches.Fixed`), and afterwards (`agent.verify`).
"""

import ast
import itertools
import string
from collections.abc import Iterator
from dataclasses import dataclass

from agent.base.syntax import parse
from agent.gates import names


@dataclass(frozen=True)
class Breach:
    """Something that an edited file may not do, and the line it stands on."""

    line: int
    what: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.what}"


def breaches(source: str, plots: bool = False) -> list[Breach]:
    """Find what a file does and may not do.

    Args:
        source: Python source text that parses.
        plots: Whether it is `plot.py`, which reads results and writes figures.

    Returns:
        One for each line and reason, in the order of lines.
    """
    tree = parse(source)
    reader = _Reader(tree, plots)
    found = {Breach(_line(node), what) for node in ast.walk(tree) for what in reader.look(node)}
    return sorted(found, key=lambda breach: (breach.line, breach.what))


def explain(name: str, found: list[Breach], most: int = 8) -> str:
    """Explain breaches to the model.

    Args:
        name: The file.
        found: At least one.
        most: How many are told.
    """
    lines = [f"- {breach}" for breach in found[:most]]
    lines += [f"- and {len(found) - most} more"] if len(found) > most else []
    return f"{name} may not do this, so nothing was changed:\n" + "\n".join(lines)


class _Reader:
    def __init__(self, tree: ast.Module, plots: bool) -> None:
        self.plots = plots
        self.imported = _imported(tree)
        self.modules = _imported_modules(tree)
        self.foreign = _foreign(tree)
        self.classes = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
        self.own = {id(node) for found in self.classes.values() for node in _of_itself(found)}
        self.defined = _defined(tree, self.own)
        self.above = {id(child): node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}

    def look(self, node: ast.AST) -> Iterator[str]:
        """The breach in one node, by itself."""
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from self._import(node)
        elif isinstance(node, ast.Name):
            yield from self._name(node)
        elif isinstance(node, ast.Attribute):
            yield from self._attribute(node)
        elif isinstance(node, ast.Call):
            yield from self._call(node)
        elif isinstance(node, ast.MatchClass):
            if hidden := [name for name in node.kwd_attrs if name.startswith("_") or name in names.OF_NO_OBJECT]:
                yield f"{hidden[0]} is not public; use public names of torch and the lab"
        elif isinstance(node, ast.ClassDef):
            for base in node.bases:
                if not isinstance(base, ast.Name | ast.Attribute | ast.Subscript):
                    yield f"{ast.unparse(base)}: derive from a class by its name"
                elif ast.unparse(base).rpartition(".")[2] in ("Run", "Batch"):
                    yield "the lab's Run and Batch are not for deriving from"
                elif _root(base) in self.foreign and ast.unparse(base).rpartition(".")[2] not in names.BASES:
                    yield f"{ast.unparse(base)} is not for deriving from: torch's classes and the file's own are"
        elif (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name.startswith(names.TAKING_PART)
            and node.name not in names.NO_PART
        ):
            yield f"{node.name} takes part in what is not the file's own"
        yield from self._stored(node)

    def _import(self, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        if isinstance(node, ast.ImportFrom) and node.level:
            yield "relative imports lead to no module here"
            return
        for module, name in _modules(node):
            parts = module.split(".")
            allowed = names.STANDARD | names.LIBRARIES | (names.PLOTTING if self.plots else set())
            every = [*parts, *([name] if name else [])]
            if parts[0] == "lab" and not self.plots:
                whole = isinstance(node, ast.Import) or (not name and names.LAB.get(module))
                if module not in names.LAB or name == "*" or whole:
                    yield f"import of {module}: of the lab, take {names.LAB_PARTS}"
                elif name and name not in (names.LAB[module] or {name}):
                    yield f"{name} of {module}: of the lab, take {names.LAB_PARTS}"
            elif parts[0] not in allowed:
                yield f"import of {module}: take torch, numpy, scipy, einops, {names.LAB_PARTS}, or what computes"
            elif name == "*":
                yield f"import * from {module}: name what is used"
            elif private := [part for part in every if part.startswith("_") and part != "__future__"]:
                yield f"{private[0]} of {module}: not public"
            elif unsafe := names.UNSAFE_PARTS & {*parts[1:], name or ""}:
                yield f"{min(unsafe)} of {parts[0]} reaches past tensors"
            elif closed := [
                part for part, inner in itertools.pairwise(every) if inner not in names.CLOSED.get(part, {inner})
            ]:
                inner = every[every.index(closed[0]) + 1]
                yield f"{inner} of {closed[0]} reaches past the experiment"
            elif name and not self.plots and (name in names.FILES or name in names.SEEDS):
                yield f"{name} of {module}: " + (
                    "the lab keeps the files" if name in names.FILES else "the seed is the lab's"
                )

    def _name(self, node: ast.Name) -> Iterator[str]:
        name, above = node.id, self.above.get(id(node))
        called = isinstance(above, ast.Call) and above.func is node
        if name in names.BUILTINS and not (self.plots and name == "open"):
            yield f"{name} is not for experiments: it reaches past the file's own tensors"
        elif name.startswith("__") and name not in names.DUNDERS:
            yield f"{name} reaches into the interpreter"
        elif name in names.LOOK_UP and not called:
            yield f"{name} under another name: write the attribute out"
        elif name == "super" and not (called and not above.args and not above.keywords):  # type: ignore[union-attr]
            yield "super is for a method's own object: write super()"
        elif name == "type" and not self._plain_type(node, above):
            yield "type is for asking what an object is: write a class out"
        elif name in self.modules and isinstance(node.ctx, ast.Load) and not isinstance(above, ast.Attribute):
            yield f"{name} is a module: name what is used of it, {name}.NAME"

    @staticmethod
    def _plain_type(node: ast.Name, above: ast.AST | None) -> bool:
        if isinstance(above, ast.Call) and above.func is node:
            return len(above.args) == 1 and not above.keywords and not isinstance(above.args[0], ast.Starred)
        return (isinstance(above, ast.Subscript) and above.value is node) or not isinstance(node.ctx, ast.Load)

    def _attribute(self, node: ast.Attribute) -> Iterator[str]:
        root, name, above = _root(node), node.attr, self.above.get(id(node))
        own = id(node) in self.own and name in self.defined
        inherited = isinstance(node.value, ast.Call) and _is_name(node.value.func, "super")
        if name.startswith("__") and name not in (names.INHERITED if inherited else names.DUNDERS):
            yield f"{name} reaches into the interpreter"
        elif name.startswith("_") and not name.startswith(("__", "_foreach_")) and not own and not inherited:
            yield f"{name} is not public; use public names of torch and the lab"
        elif name in names.OF_NO_OBJECT:
            yield f"{name} reaches into the interpreter"
        elif name == "format" and not _fills_in(node, above):
            yield "format with a text made at run time, or that names attributes: write an f-string"
        elif root in self.imported and name in names.UNSAFE_PARTS:
            yield f"{name} of {root} reaches past tensors"
        elif root in self.imported and name not in names.CLOSED.get(self._module(node.value), {name}):
            yield f"{ast.unparse(node)} reaches past the experiment"
        elif (root, name) == ("torch", "compile") and not _plainly_compiled(node, above):
            yield "torch.compile with a backend of one's own: it is not run where operations are counted"
        elif root in self.modules and name in names.MODULES and not isinstance(above, ast.Attribute):
            yield f"{ast.unparse(node)} is a module: name what is used of it"
        elif self.plots:
            if name in names.CHANGES:
                yield f"{name}: plots write figures and change nothing else"
        elif name in names.SEEDS and (name != "seed" or root in self.imported or _given(node)):
            yield "the seed is the lab's: a generator of your own is run.generator()"
        elif name in names.FILE_METHODS or (name in names.FILES and root in self.imported):
            yield f"{name}: files are the lab's; run.save() and run.log() write what is kept"

    def _module(self, node: ast.expr) -> str:
        """The last name of a chain, as the module that it may be calls itself."""
        return node.attr if isinstance(node, ast.Attribute) else self.modules.get(_root(node), _root(node))

    def _call(self, node: ast.Call) -> Iterator[str]:
        called = node.func
        if isinstance(called, ast.Name) and called.id in names.LOOK_UP:
            if not (len(node.args) > 1 and isinstance(node.args[1], ast.Constant)):
                yield f"{called.id} with a name made at run time: write the attribute out"
            elif (name := str(node.args[1].value)).startswith("_") or name in names.OF_NO_OBJECT:
                yield f"{called.id} of {name!r}: not public"
            elif (not self.plots and name in names.FILE_METHODS | names.SEEDS) or name == "format":
                yield f"{called.id} of {name!r}: write the attribute out"
            elif name in names.UNSAFE_PARTS | names.FILES and _root(node.args[0]) in self.imported:
                yield f"{name} of {_root(node.args[0])} reaches past tensors"
        if not isinstance(called, ast.Attribute):
            return
        if isinstance(called.value, ast.Name) and called.value.id in self.classes:
            method = next((item for item in self.classes[called.value.id].body if _named(item) == called.attr), None)
            first = method.args.args[:1] if isinstance(method, ast.FunctionDef) and not method.decorator_list else []
            if first and node.args and not _is_name(node.args[0], first[0].arg):
                yield f"{ast.unparse(called)}: call a method on its object"
        if called.attr == "ArgumentParser" and any(given.arg not in names.PARSED for given in node.keywords):
            yield "a parser of arguments is given a description, and nothing that it reads"
        elif called.attr.startswith("parse_") and called.attr.endswith("args") and (node.args or node.keywords):
            yield f"{called.attr} with arguments: it reads those of the run"
        elif called.attr == "seed" and not self.plots:
            yield "the seed is the lab's: a generator of your own is run.generator()"
        if called.attr == "log" and not self.plots and _root(called) not in self.imported:
            for given in node.keywords:
                if given.arg and _is_number(given.value):
                    yield f"{given.arg} is logged as a number that is typed, not measured"

    def _stored(self, node: ast.AST) -> Iterator[str]:
        for target in _targets(node):
            if not isinstance(target, ast.Attribute):
                continue
            root = _root(target)
            if ast.unparse(target).startswith("torch.backends."):
                continue
            if root in self.imported:
                yield f"{ast.unparse(target)} = ...: what is imported stays as it is"
            elif isinstance(target.value, ast.Call) or target.attr == "__class__":
                yield f"{ast.unparse(target)} = ...: only objects of the file's own are changed"
            elif names.GIVEN & {root, *ast.unparse(target.value).split(".")}:
                yield f"{ast.unparse(target)} = ...: the run and its batches are the lab's"


def _line(node: ast.AST) -> int:
    """The line of a node; the loop of a comprehension has none, its target has."""
    return getattr(node, "lineno", 0) or node.target.lineno  # type: ignore[attr-defined]


def _given(node: ast.Attribute) -> bool:
    """Tell whether an attribute is of one of the lab's objects."""
    return ast.unparse(node.value).rpartition(".")[2] in names.GIVEN


def _of_itself(found: ast.ClassDef) -> Iterator[ast.Attribute]:
    """The attributes that the methods of a class take from their own object."""
    for method in found.body:
        if not isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) or not method.args.args:
            continue
        name = method.args.args[0].arg
        inside = [node for statement in method.body for node in ast.walk(statement)]
        taken = any(
            (isinstance(node, ast.arg) and node.arg == name)
            or (isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store))
            for node in inside
        )
        if not taken and name in ("self", "cls"):
            yield from (node for node in inside if isinstance(node, ast.Attribute) and _is_name(node.value, name))


def _named(node: ast.stmt) -> str:
    return str(getattr(node, "name", ""))


def _modules(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str | None]]:
    """Each module that is imported, with the name taken from it."""
    for alias in node.names:
        if isinstance(node, ast.Import):
            yield alias.name, None
        elif node.module == "lab":
            yield f"lab.{alias.name}", None
        else:
            yield node.module or "", alias.name


def _imported(tree: ast.Module) -> set[str]:
    """Names of what is imported, and the other names that are given to it or to parts of it."""
    found = {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    while True:
        more = {
            target.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name | ast.Attribute)
            if _root(node.value) in found
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        if more <= found:
            return found
        found |= more


def _imported_modules(tree: ast.Module) -> dict[str, str]:
    """Names of modules, with what these call themselves."""
    return {
        alias.asname or alias.name.partition(".")[0]: alias.name.rpartition(".")[2] if alias.asname else alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if names.is_module(node, alias)
    }


def _targets(node: ast.AST) -> Iterator[ast.expr]:
    """The attributes that a statement, or the loop of a comprehension, sets or deletes."""
    if isinstance(node, ast.Assign | ast.Delete):
        given: list[ast.expr] = list(node.targets)
    elif isinstance(node, ast.With | ast.AsyncWith):
        given = [item.optional_vars for item in node.items if item.optional_vars]
    elif isinstance(node, ast.AugAssign | ast.AnnAssign | ast.For | ast.AsyncFor | ast.NamedExpr | ast.comprehension):
        given = [node.target]
    else:
        given = []
    for target in given:
        for inner in ast.walk(target):
            if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store | ast.Del):
                yield inner


def _foreign(tree: ast.Module) -> set[str]:
    """Names of modules, and of what is imported from them, that are neither PyTorch's nor the lab's."""
    return {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if (getattr(node, "module", None) or alias.name).partition(".")[0] not in ("torch", "lab")
    }


def _defined(tree: ast.Module, own: set[int]) -> set[str]:
    """The private names that classes of the file give to their objects, without those of the lab's objects."""
    methods = {
        _named(item) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for item in node.body if _named(item)
    }
    set_here = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and id(node) in own
    }
    at_class = {
        node.id
        for found in ast.walk(tree)
        if isinstance(found, ast.ClassDef)
        for item in found.body
        if isinstance(item, ast.Assign | ast.AnnAssign)
        for node in ast.walk(item)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    return (methods | set_here | at_class) - names.of_the_lab()


def _fills_in(node: ast.Attribute, above: ast.AST | None) -> bool:
    """Tell whether `format` is called at once on a text that is written out and names no attribute or item."""
    text = node.value.value if isinstance(node.value, ast.Constant) else None
    if not (isinstance(above, ast.Call) and above.func is node and isinstance(text, str)):
        return False
    try:
        fields = [(name or "", spec or "") for _, name, spec, _ in string.Formatter().parse(text)]
    except ValueError:
        return False
    return not any(set(name) & set(".[") or "{" in spec for name, spec in fields)


def _plainly_compiled(node: ast.Attribute, above: ast.AST | None) -> bool:
    """Tell whether torch.compile is called at once, or decorates, with no backend of the file's own."""
    if isinstance(above, ast.Call) and above.func is node:
        return all(given.arg in ("dynamic", "fullgraph", "mode") for given in above.keywords)
    return isinstance(above, ast.FunctionDef)


def _root(node: ast.expr) -> str:
    """The name that a chain of attributes starts from; empty where it starts from something else."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _is_number(node: ast.expr) -> bool:
    inner = node.operand if isinstance(node, ast.UnaryOp) else node
    return isinstance(inner, ast.Constant) and isinstance(inner.value, int | float)
