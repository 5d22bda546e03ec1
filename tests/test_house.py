"""The shape of the house: its rooms, the order of imports, no circle across rooms, nothing loose, nothing too long.

A room is a package of `agent` or `lab` (a folder with modules). Imports count wherever they stand, those in functions
and for type checkers too.
"""

import ast
from pathlib import Path

import grimp
import networkx
import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("agent", "lab")
COMMANDS = {"launch.py", "review.py", "verify.py", "idea.py"}
ROOMS, LINES = 24, 400


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, cache_dir=None)


def test_there_are_few_rooms() -> None:
    rooms = [path.parent for name in PACKAGES for path in (ROOT / name).rglob("__init__.py")]
    assert 10 < len(rooms) <= ROOMS, sorted(map(str, rooms))


def test_nothing_is_loose_at_the_top_but_the_commands_and_the_loop() -> None:
    loose = {path.name for path in (ROOT / "agent").glob("*.py")}
    assert loose == COMMANDS | {"__init__.py", "loop.py"}


def test_no_circle_of_files_leaves_its_room(graph: grimp.ImportGraph) -> None:
    across = [circle for circle in _circles(graph) if len({_room(module, graph) for module in circle}) > 1]
    assert across == []


def test_no_module_is_too_long() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for name in (*PACKAGES, "bench", "templates")
        for path in (ROOT / name).rglob("*.py")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > LINES
    }
    assert long == {}


def test_docstrings_say_what_a_thing_is() -> None:
    questions = []
    for name in (*PACKAGES, "bench"):
        for path in (ROOT / name).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    text = ast.get_docstring(node) or ""
                    if text.startswith(("What ", "Whether ", "How ")):
                        questions.append(f"{path.relative_to(ROOT)}: {text.splitlines()[0]}")
    assert questions == []


def _room(module: str, graph: grimp.ImportGraph) -> str:
    package = bool(graph.find_children(module))
    return module if package else module.rpartition(".")[0]


def _circles(graph: grimp.ImportGraph) -> list[set[str]]:
    """The sets of modules that import each other, directly or not."""
    imports = networkx.DiGraph(
        (module, other) for module in graph.modules for other in graph.find_modules_directly_imported_by(module)
    )
    return [circle for circle in networkx.strongly_connected_components(imports) if len(circle) > 1]
