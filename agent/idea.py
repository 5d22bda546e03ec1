"""Ideas: one JSON file each in `ideas/`, checked before anything is made.

`python -m agent.idea import FILE` takes a list file of the kind AI-Scientist writes apart into such files.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.base.errors import AgentError
from agent.base.files import write_atomically
from agent.base.guard import guarded
from agent.base.keys import scrub
from agent.base.places import IDEAS, OWN_IDEAS

Text = Annotated[str, Field(min_length=1)]
METRIC = r"^[a-z_]+\.[a-z0-9_]+$"


class IdeaGoal(BaseModel):
    """The metric that an idea is to improve.

    Args:
        metric: For example `core.delta_ce`.
        smallest: The smallest effect that would matter, in the metric's unit; the profile's when None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: Annotated[str, Field(pattern=METRIC)]
    smallest: Annotated[float, Field(gt=0)] | None = None


class Idea(BaseModel):
    """An idea as its file gives it; fields of other systems' idea files are kept.

    Args:
        Name: The file's name without `.json`: lower-case letters, digits and underscores.
        Title: What a paper on it would be called.
        Experiment: What is to be run.
        Technical_Details: The method, with its formulas.
        Implementation_Plan: The steps in the code.
        Goal: What it is to improve; the profile's goal when None.
        Guards: The metrics that it must not make worse, with by how much it may (null: as much as would matter of
            them); the profile's when None.
    """

    model_config = ConfigDict(extra="allow", frozen=True, str_strip_whitespace=True)

    Name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]{0,79}$")]
    Title: Text
    Experiment: Text
    Technical_Details: Text
    Implementation_Plan: Text
    Goal: IdeaGoal | None = None
    Guards: dict[Annotated[str, Field(pattern=METRIC)], Annotated[float, Field(ge=0)] | None] | None = None


def list_ideas(folder: Path = IDEAS) -> list[str]:
    """The names of the ideas in a folder, sorted."""
    return sorted(path.stem for path in folder.glob("*.json"))


def load_idea(name: str, folder: Path = IDEAS) -> Idea:
    """Read and check one idea.

    Args:
        name: The idea's name, without `.json`.
        folder: Where the ideas are.

    Returns:
        The idea.

    Raises:
        AgentError: No such idea, not JSON, a field that is missing or wrong, or one with a key in it.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        known = ", ".join(list_ideas(folder)) or "none yet"
        raise AgentError(f"no idea '{name}' in {folder}; there are: {known}")
    idea = parse_idea(_read_json(path), str(path))
    if idea.Name != name:
        raise AgentError(f"{path}: Name is '{idea.Name}'; make it '{name}', as the file is called")
    _refuse_keys(idea, str(path))
    return idea


def parse_idea(data: object, where: str) -> Idea:
    """Check an idea's fields.

    Args:
        data: What the JSON file holds.
        where: How to name the place in an error.

    Returns:
        The idea.

    Raises:
        AgentError: A field is missing or wrong; the line names it.
    """
    if not isinstance(data, dict):
        raise AgentError(f"{where}: an idea is one JSON object with Name, Title, Experiment and so on")
    # Plans and details are sometimes lists of steps; one text reads the same to the model.
    data = {key: "\n".join(map(str, value)) if _is_steps(key, value) else value for key, value in data.items()}
    try:
        return Idea.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise AgentError(f"{where}: {field}: {first['msg'].lower()}") from error


def import_ideas(source: Path, folder: Path = OWN_IDEAS) -> list[str]:
    """Write each idea of a list file to a file of its own.

    Args:
        source: A JSON file that holds a list of ideas, or one idea.
        folder: Where the files go; one that is there already is not replaced.

    Returns:
        The names of the ideas written.

    Raises:
        AgentError: The list or one of its ideas is damaged, or a name is taken. Nothing is written then.
    """
    data = _read_json(source)
    entries = data if isinstance(data, list) else [data]
    ideas = [parse_idea(_with_clean_name(entry), f"{source}, idea {n}") for n, entry in enumerate(entries, 1)]
    names = [idea.Name for idea in ideas]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise AgentError(f"{source}: the name '{twice[0]}' stands there twice; rename one")
    for idea in ideas:
        _refuse_keys(idea, f"{source}, {idea.Name}")
    taken = [name for name in names if (folder / f"{name}.json").exists()]
    if taken:
        raise AgentError(f"{folder / taken[0]}.json is there already; remove it or rename the idea")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AgentError(f"cannot make {folder}: {error.strerror}; give another folder with --to") from error
    for idea in ideas:
        text = json.dumps(idea.model_dump(), indent=2, ensure_ascii=False) + "\n"
        write_atomically(folder / f"{idea.Name}.json", text)
    return names


def _refuse_keys(idea: Idea, where: str) -> None:
    """An idea is copied, committed and sent to a model: once it is there no key can be taken back."""
    for field, value in idea.model_dump(mode="json").items():
        text = value if isinstance(value, str) else json.dumps(value)
        if scrub(text) != text:
            raise AgentError(f"{where}: {field} holds what looks like a key or a password; take it out")


def _is_steps(key: str, value: object) -> bool:
    return key in Idea.model_fields and isinstance(value, list)


def _with_clean_name(entry: object) -> object:
    if isinstance(entry, dict) and isinstance(entry.get("Name"), str):
        return {**entry, "Name": re.sub(r"[^a-z0-9]+", "_", entry["Name"].lower()).strip("_")}
    return entry


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AgentError(f"cannot read {path}: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise AgentError(f"{path} is not JSON: {error}") from error


def main(argv: list[str] | None = None) -> int:
    """The command line: `import FILE` and `list`."""
    parser = argparse.ArgumentParser(prog="python -m agent.idea", description="Import and list ideas.")
    commands = parser.add_subparsers(dest="command", required=True)
    importing = commands.add_parser("import", help="take a list file of ideas apart into ideas/NAME.json")
    importing.add_argument("file", type=Path)
    importing.add_argument("--to", type=Path, default=OWN_IDEAS, help="the folder (default: ideas/)")
    commands.add_parser("list", help="the names of the ideas")
    arguments = parser.parse_args(argv)
    try:
        names = import_ideas(arguments.file, arguments.to) if arguments.command == "import" else list_ideas()
    except AgentError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.writelines(f"{name}\n" for name in names)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
