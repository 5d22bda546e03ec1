"""Numbers as references: `{run_2:core.explained_variance}` in a text, filled in from results when it is shown."""

import re
from collections.abc import Callable

from agent.results.read import Value

# A reference is a source, a colon and a metric; anything else in braces (code, sets, LaTeX) is left alone.
_REFERENCE = re.compile(r"\{(?P<source>[a-z][a-z0-9_]*):(?P<metric>[a-z_]+\.[A-Za-z0-9_]+)\}")

Lookup = Callable[[str, str], Value | None]


def fill(text: str, lookup: Lookup) -> str:
    """Put each referenced number in its place, with its unit and where it comes from.

    Args:
        text: A text with references.
        lookup: From a source (`run_2`, `topk`) and a metric to its value.

    Returns:
        The text; a reference that leads nowhere is kept and marked.
    """

    def put(found: re.Match[str]) -> str:
        value = lookup(found["source"], found["metric"])
        return f"{value} [{found['source']}]" if value else f"{found[0]}(no such result)"

    return _REFERENCE.sub(put, text)


def dangling(text: str, lookup: Lookup) -> list[str]:
    """The references in a text that lead nowhere, in their order."""
    return [found[0] for found in _REFERENCE.finditer(text) if lookup(found["source"], found["metric"]) is None]
