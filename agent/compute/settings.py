"""The settings of an executor, read from a TOML file of the user's."""

import tomllib
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from agent.base.errors import AgentError
from agent.compute.executor import settings_types


class ExecutorSettings(BaseModel):
    """The wishes of a user; each executor that has settings has its own class of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Where settings go that the class has no name for.
    hint: ClassVar[str] = ""


def load_settings(name: str, path: Path) -> ExecutorSettings:
    """Read an executor's settings.

    Args:
        name: The executor, one that has settings.
        path: A TOML file.

    Raises:
        AgentError: It can't be read, or says something else.
    """
    kind = settings_types()[name]
    try:
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise AgentError(f"cannot read {path}: {error.strerror}; give --{name} the path of a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AgentError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            known = ", ".join(kind.model_fields)
            hint = f"; {kind.hint}" if kind.hint else ""
            raise AgentError(f"{path}: there is no setting {where}; there are {known}{hint}") from error
        own, said = first["type"] == "value_error", first["msg"].removeprefix("Value error, ")
        said = said if own else said[:1].lower() + said[1:]
        given = f", not {first['input']!r}" if isinstance(first["input"], str | int | float) else ""
        raise AgentError(f"{path}: {where}: {said}{given}") from error
