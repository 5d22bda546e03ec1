"""Hashes of modules' sources, by which what other code made is never taken for what this code makes."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
from functools import lru_cache
from pathlib import Path

from lab import cache

# Those that only store or show, and the tables: another line there changes no score.
_NOT_IN_SCORES = {
    *("lab.cache", "lab.devices", "lab.errors", "lab.hub", "lab.progress", "lab.settings"),
    *("lab.architectures", "lab.evals"),
}
_LIBRARIES = ("torch", "transformers", "scikit-learn")


@lru_cache
def source_hash(*modules: str) -> str:
    """A hash of modules' sources, of all that they import in turn, and of the numeric libraries' versions.

    A score made by other code is thereby never taken for one of this code. Of what is imported the modules of `lab`
    count, and those of a module's own package where that is another; those that only store or show are left out.

    Args:
        modules: dotted names.
    """
    packages = {"lab", *(module.partition(".")[0] for module in modules)}
    sources: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in sources or name in _NOT_IN_SCORES:
            continue
        path = _source_file(name)
        if path is None:
            continue
        sources[name] = path.read_text(encoding="utf-8")
        waiting += [found for found in _imports(sources[name]) if found.partition(".")[0] in packages]
    versions = {library: importlib.metadata.version(library) for library in _LIBRARIES}
    return cache.fingerprint({"sources": sources, "versions": versions})


def _source_file(name: str) -> Path | None:
    """The file of a module's source, None when there is no such module. It is not imported, nor is one above it."""
    top, *below = name.split(".")
    found = importlib.util.find_spec(top)
    if found is None:
        return None
    if not below:
        return Path(found.origin) if found.origin else None
    paths = [Path(folder, *below) for folder in found.submodule_search_locations or ()]
    files = (file for path in paths for file in (path.with_suffix(".py"), path / "__init__.py"))
    return next((file for file in files if file.is_file()), None)


def _imports(source: str) -> list[str]:
    """Dotted names that a source imports, at its top or inside functions; some are of things in a module."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names
