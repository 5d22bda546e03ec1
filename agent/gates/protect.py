"""The limits of an experiment: a reading of its syntax tree that says, line by line, what belongs to the lab.

The file gets its data, seed and budget from `lab.training` and gives back an SAE; for that it needs no files, no
processes, no other module of the lab, and no hand on any object but its own. What a reading can't see (what is called
under another name, what depends on the data) is looked at while it runs (`lab.smoke`) and afterwards (`agent.verify`).
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from agent.base.syntax import parse

_STANDARD = {
    "__future__", "abc", "argparse", "bisect", "cmath", "collections", "contextlib", "copy", "dataclasses", "enum",
    "fractions", "functools", "heapq", "itertools", "json", "logging", "math", "numbers", "operator", "random", "re",
    "statistics", "string", "sys", "textwrap", "time", "types", "typing", "warnings",
}  # fmt: skip
_LIBRARIES = {"einops", "numpy", "scipy", "torch"}
_LAB: dict[str, set[str] | None] = {
    "lab.errors": {"LabError"},
    "lab.numerics": None,
    "lab.sparse": None,
    "lab.training": {"Batch", "Run", "start"},
}  # fmt: skip
_LAB_PARTS = "lab.sparse, lab.numerics, LabError of lab.errors and Batch, Run and start of lab.training"
_PLOTTING = {"csv", "matplotlib", "pathlib", "numpy"}
# Parts of libraries that reach past tensors: other processes, other code, the network.
_UNSAFE_PARTS = {
    "CodeType", "FunctionType", "attrgetter", "builtins", "cpp_extension", "ctypes", "ctypeslib", "distributed", "f2py",
    "gc", "hub", "importlib", "inspect", "io", "library", "load_library", "methodcaller", "multiprocessing", "os",
    "package", "pathlib", "pickle", "shutil", "signal", "socket", "subprocess", "sys", "tempfile", "tensorboard",
    "threading",
}  # fmt: skip
# What carries out text, or a name that is made at run time, and what tells a smoke run from a real one.
_TEXT_RUNNERS = {
    "ForwardRef", "Timer", "are_deterministic_algorithms_enabled", "bltns", "codecs", "config", "dictConfig", "eval",
    "evaluate_forward_ref", "exec", "fileConfig", "fx", "get_annotations", "get_deterministic_debug_mode",
    "get_type_hints", "is_deterministic_algorithms_warn_only_enabled", "jit", "rundocs", "runstring", "singledispatch",
    "singledispatchmethod", "testing",
}  # fmt: skip
# Modules of the standard library are parts of many others; these names mean something else in what computes.
_OTHER_MODULES = sys.stdlib_module_names - _STANDARD - {"array", "select", "trace"}
_UNSAFE_PARTS |= _TEXT_RUNNERS | _OTHER_MODULES
_SYS = {"argv", "exit", "float_info", "maxsize", "stderr", "stdout", "version_info"}
_BUILTINS = {
    "__annotations__", "__builtins__", "__file__", "__import__", "__loader__", "__spec__", "breakpoint", "compile",
    "delattr", "eval", "exec", "globals", "input", "locals", "open", "setattr", "vars",
}  # fmt: skip
_FILES = {
    "DataFrame", "FileHandler", "FileType", "RotatingFileHandler", "dump", "fromfile", "from_file", "genfromtxt",
    "load", "loadtxt", "loadmat", "memmap", "open_memmap", "save", "savetxt", "savez", "savemat", "savez_compressed",
    "tofile",
}  # fmt: skip
_FILE_METHODS = {
    "iterdir", "read_bytes", "read_csv", "read_text", "rglob", "to_csv", "write_bytes", "write_text",
}  # fmt: skip
_CHANGES = {"chmod", "hardlink_to", "rename", "rmdir", "symlink_to", "touch", "unlink", "write_bytes"}
_SEEDS = {
    "manual_seed", "manual_seed_all", "seed", "seed_all", "set_rng_state", "set_rng_state_all", "set_state", "setstate",
    "initial_seed", "default_rng", "RandomState", "SeedSequence", "Random", "SystemRandom",
}  # fmt: skip
_DUNDERS = {
    "__class__", "__doc__", "__enter__", "__exit__", "__init__", "__len__", "__name__",
    "__post_init__", "__qualname__", "__version__", "__call__",
}  # fmt: skip
_GIVEN = {"run", "batch"}  # what the lab's objects are called in the template; renamed, the lab itself refuses


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
    found = {Breach(node.lineno, what) for node in ast.walk(tree) for what in reader.look(node)}  # type: ignore[attr-defined]
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
        self.classes = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
        self.own = {id(node) for found in self.classes.values() for node in _of_itself(found)}

    def look(self, node: ast.AST) -> Iterator[str]:
        """The breach in one node, by itself."""
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from self._import(node)
        elif isinstance(node, ast.Name) and node.id in _BUILTINS and not (self.plots and node.id == "open"):
            yield f"{node.id} is not for experiments: it reaches past the file's own tensors"
        elif isinstance(node, ast.Attribute):
            yield from self._attribute(node)
        elif isinstance(node, ast.Call):
            yield from self._call(node)
        elif isinstance(node, ast.ClassDef):
            for base in node.bases:
                if ast.unparse(base).rpartition(".")[2] in ("Run", "Batch"):
                    yield "the lab's Run and Batch are not for deriving from"
        if isinstance(
            node, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.For | ast.Delete | ast.With | ast.NamedExpr
        ):
            yield from self._stored(node)

    def _import(self, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        if isinstance(node, ast.ImportFrom) and node.level:
            yield "relative imports lead to no module here"
            return
        for module, name in _modules(node):
            parts = module.split(".")
            allowed = _STANDARD | _LIBRARIES | (_PLOTTING if self.plots else set())
            if parts[0] == "lab" and not self.plots:
                whole = isinstance(node, ast.Import) or (not name and _LAB.get(module))
                if module not in _LAB or name == "*" or whole:
                    yield f"import of {module}: of the lab, take {_LAB_PARTS}"
                elif name and name not in (_LAB[module] or {name}):
                    yield f"{name} of {module}: of the lab, take {_LAB_PARTS}"
            elif parts[0] not in allowed:
                yield f"import of {module}: take torch, numpy, scipy, einops, {_LAB_PARTS}, or what computes"
            elif name == "*":
                yield f"import * from {module}: name what is used"
            elif unsafe := _UNSAFE_PARTS & {*parts[1:], name or ""}:
                yield f"{min(unsafe)} of {parts[0]} reaches past tensors"
            elif name and parts[0] == "sys" and name not in _SYS:
                yield f"sys.{name} reaches past the experiment"
            elif name and not self.plots and (name in _FILES or name in _SEEDS):
                yield f"{name} of {module}: " + (
                    "the lab keeps the files" if name in _FILES else "the seed is the lab's"
                )

    def _attribute(self, node: ast.Attribute) -> Iterator[str]:
        root, name = _root(node), node.attr
        own = id(node) in self.own or (isinstance(node.value, ast.Call) and _is_name(node.value.func, "super"))
        if name.startswith("__") and name not in _DUNDERS and not own:
            yield f"{name} reaches into the interpreter"
        elif name.startswith("_") and not name.startswith(("__", "_foreach_")) and not own:
            yield f"{name} is not public; use public names of torch and the lab"
        elif root == "sys" and isinstance(node.value, ast.Name) and name not in _SYS:
            yield f"sys.{name} reaches past the experiment"
        elif root in self.imported and name in _UNSAFE_PARTS:
            yield f"{name} of {root} reaches past tensors"
        elif self.plots:
            if name in _CHANGES:
                yield f"{name}: plots write figures and change nothing else"
        elif name in _SEEDS and (name != "seed" or root in self.imported or _given(node)):
            yield "the seed is the lab's: a generator of your own is run.generator()"
        elif name in _FILE_METHODS or (name in _FILES and root in self.imported):
            yield f"{name}: files are the lab's; run.save() and run.log() write what is kept"

    def _call(self, node: ast.Call) -> Iterator[str]:
        called = node.func
        if _is_name(called, "getattr") or _is_name(called, "hasattr"):
            if not (len(node.args) > 1 and isinstance(node.args[1], ast.Constant)):
                yield "getattr with a name made at run time: write the attribute out"
            elif (name := repr(node.args[1].value)).startswith("'_"):
                yield f"getattr of {name}: not public"
            elif (part := name.strip("'")) in _UNSAFE_PARTS | _FILES and _root(node.args[0]) in self.imported:
                yield f"{part} of {_root(node.args[0])} reaches past tensors"
        if not isinstance(called, ast.Attribute):
            return
        if isinstance(called.value, ast.Name) and called.value.id in self.classes:
            method = next((item for item in self.classes[called.value.id].body if _named(item) == called.attr), None)
            first = method.args.args[:1] if isinstance(method, ast.FunctionDef) and not method.decorator_list else []
            if first and node.args and not _is_name(node.args[0], first[0].arg):
                yield f"{ast.unparse(called)}: call a method on its object"
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
            elif _GIVEN & {root, *ast.unparse(target.value).split(".")}:
                yield f"{ast.unparse(target)} = ...: the run and its batches are the lab's"


def _given(node: ast.Attribute) -> bool:
    """Tell whether an attribute is of one of the lab's objects."""
    return ast.unparse(node.value).rpartition(".")[2] in _GIVEN


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
    names = {
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
            if _root(node.value) in names
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        if more <= names:
            return names
        names |= more


def _targets(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.Assign | ast.Delete):
        given: list[ast.expr] = list(node.targets)
    elif isinstance(node, ast.With):
        given = [item.optional_vars for item in node.items if item.optional_vars]
    else:
        given = [node.target]  # type: ignore[attr-defined]
    for target in given:
        for inner in ast.walk(target):
            if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store | ast.Del):
                yield inner


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
