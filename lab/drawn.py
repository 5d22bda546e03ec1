"""A plotting script's run, with notes of what each figure that it saves lacks.

    python -P -m lab.drawn --report FILE plot.py

A figure whose axes say nothing cannot be read, and that is seen only before it becomes a picture.
"""

from __future__ import annotations

import argparse
import functools
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import cache

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def lacks(figure: Figure) -> list[str]:
    """Find what a reader misses in a figure.

    Args:
        figure: As it is saved.

    Returns:
        A line for each axis with data and without a label; one that shares its axis with a labelled neighbour is
        labelled by that. Nothing drawn is a line too.
    """
    drawn = [axes for axes in figure.axes if axes.has_data() and axes.get_visible() and axes.axison]
    if not drawn:
        return ["nothing is drawn in it"]
    said = []
    for number, axes in enumerate(drawn, 1):
        if axes.get_label() == "<colorbar>":
            if not (axes.get_xlabel() or axes.get_ylabel()):
                said.append("its colour bar has no label")
            continue
        which = f"panel {number} of {len(drawn)}" if len(drawn) > 1 else "it"
        said += [f"{which} has no label on the {name} axis" for name in ("x", "y") if not _labelled(axes, drawn, name)]
    return said


def _labelled(axes: Axes, drawn: list[Axes], name: str) -> bool:
    shared = getattr(axes, f"get_shared_{name}_axes")()
    whole = getattr(axes.figure, f"_sup{name}label", None)
    mates = [other for other in drawn if other is axes or shared.joined(axes, other)]
    return any(getattr(other, f"get_{name}label")().strip() for other in mates) or bool(whole and whole.get_text())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; what the script raises is raised, after the report is written."""
    from matplotlib.figure import Figure

    parser = argparse.ArgumentParser(prog="python -m lab.drawn", description="Run a plotting script and look on.")
    parser.add_argument("script", type=Path, help="the script, as python would run it")
    parser.add_argument("--report", type=Path, required=True, help="the JSON file that says what figures lack")
    options = parser.parse_args(arguments)
    seen: dict[str, list[str]] = {}
    save = Figure.savefig

    @functools.wraps(save)
    def saved(self: Figure, fname: Any, *args: Any, **kwargs: Any) -> None:
        save(self, fname, *args, **kwargs)
        seen[Path(str(fname)).name] = lacks(self)

    Figure.savefig = saved  # type: ignore[method-assign]
    sys.argv = [str(options.script)]
    try:
        runpy.run_path(str(options.script), run_name="__main__")
    finally:
        cache.write_json(options.report, seen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
