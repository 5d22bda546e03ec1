"""Plain texts made from templates that lie beside the code that uses them."""

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def render(package: str, template: str, **values: Any) -> str:
    """Make a text from a template.

    Args:
        package: The package whose folder holds the template, for example `agent.report`.
        template: The template's path in that folder.
        **values: The names that it uses; one that is missing is an error.

    Returns:
        The text.
    """
    return _environment(package).get_template(template).render(**values)


@cache
def _environment(package: str) -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader(package, "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
