"""Numbers as references: `{run_2:core.explained_variance}` in a text, filled in from results when it is shown."""

import re

from agent.base.errors import AgentError
from agent.results.expressions import REFERENCE, Lookup, parse_expression
from agent.results.read import shown

# A reference is a source, a colon and a metric, or a value made of such; anything else in braces is left alone.
BRACED = re.compile(rf"\{{(?P<brace>[^{{}}\n]*{REFERENCE.pattern}[^{{}}\n]*)\}}")
_PERCENT = re.compile(r"\s?%")


def fill(text: str, lookup: Lookup) -> str:
    """Put each referenced number in its place, with its unit and where it comes from.

    Args:
        text: A text with references.
        lookup: From a source (`run_2`, `topk`) and a metric to its value.

    Returns:
        The text; a reference that leads nowhere is kept and marked.
    """
    made, place = [], 0
    for found in BRACED.finditer(text):
        made.append(text[place : found.start()])
        place = found.end()
        try:
            value = parse_expression(found["brace"])
            number = value.value(lookup)
        except AgentError:
            made.append(f"{found[0]}(no such result)")
            continue
        first = value.terms[0]
        said = str(lookup(first.source, first.metric)) if value.plain else shown(number)
        # A unit stands at its number, before the sources.
        if percent := _PERCENT.match(text, place):
            said, place = f"{said}%", percent.end()
        made.append(f"{said} [{', '.join(dict.fromkeys(term.source for term in value.terms))}]")
    return "".join([*made, text[place:]])


def dangling(text: str, lookup: Lookup) -> list[str]:
    """The references in a text that lead nowhere, in their order; those that are no value with the reason."""
    lost = []
    for found in BRACED.finditer(text):
        try:
            parse_expression(found["brace"]).value(lookup)
        except AgentError as error:
            plain = REFERENCE.fullmatch(found["brace"]) is not None
            lost.append(found[0] if plain else f"{found[0]} ({error})")
    return lost
