"""Pages of the site that are not Markdown files of docs/: the README, the notebook, and the reference of the code."""

import json
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
BESIDE = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
CODE = {"lab": "The laboratory", "agent": "The loop"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the reference to the navigation, a section for each room."""
    reference = [{title: _navigation(package)} for package, title in CODE.items()]
    config.nav = [*(config.nav or []), {"Reference": reference}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    made = {page: (ROOT / name).read_text(encoding="utf-8") for page, name in BESIDE.items()}
    made |= {f"{path.stem}.md": _notebook(path) for path in ROOT.glob("docs/*.ipynb")}
    for package in CODE:
        made |= {page: f"# {name}\n\n::: {name}\n" for name, page in _modules(package).items()}
    for page, content in made.items():
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Have links lead to pages of the site where they lead to files of the checkout."""
    markdown = markdown.replace("](docs/", "](").replace(".ipynb)", ".md)")
    for page, name in BESIDE.items():
        markdown = markdown.replace(f"]({name})", f"]({page})").replace(f"](../{name})", f"]({page})")
    return markdown


def _modules(package: str) -> dict[str, str]:
    """The modules of a package, each with its page."""
    paths = sorted((ROOT / package).rglob("*.py"))
    modules = [path.relative_to(ROOT).with_suffix("").parts for path in paths]
    named = [parts[:-1] if parts[-1] == "__init__" else parts for parts in modules if parts[-1] != "__main__"]
    return {".".join(parts): f"reference/{'.'.join(parts)}.md" for parts in named}


def _navigation(package: str) -> list[dict[str, Any]]:
    sections: dict[str, list[dict[str, Any]]] = {}
    for name, page in _modules(package).items():
        sections.setdefault(".".join(name.split(".")[:2]), []).append({name: page})
    return [{room: pages} if len(pages) > 1 else pages[0] for room, pages in sections.items()]


def _notebook(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join(block for cell in cells for block in _blocks(cell))


def _blocks(cell: dict[str, Any]) -> list[str]:
    """A notebook's cell as Markdown: its text, or its code and what came of it."""
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return [source]
    return [f"```python\n{source}\n```", *map(_output, cell["outputs"])]


def _output(output: dict[str, Any]) -> str:
    if picture := output.get("data", {}).get("image/png"):
        return f"![A plot of the cell above](data:image/png;base64,{''.join(picture).strip()})"
    return f"```text\n{''.join(output.get('text', '')).rstrip()}\n```"
