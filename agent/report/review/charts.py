"""Small charts as inline SVG: they take the page's colours, so they are readable in its dark and light form."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Literal

Mark = Literal["dot", "cross"]

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 38
LABEL_WIDTH, LABEL_HEIGHT = 16, 10


@dataclass(frozen=True)
class Point:
    """A mark at (x, y) in the data's units; `tone` names a CSS class, `title` is shown on hover."""

    x: float
    y: float
    title: str
    tone: str = "run"
    mark: Mark = "dot"
    label: str = ""
    link: str = ""


@dataclass(frozen=True)
class Curve:
    """A line through points; `dashed` for baselines."""

    points: tuple[tuple[float, float], ...]
    title: str
    tone: str = "run"
    dashed: bool = False


@dataclass(frozen=True)
class Level:
    """A horizontal line over the whole chart with, around it, a band of half width `margin`."""

    y: float
    title: str
    tone: str
    margin: float | None = None


@dataclass(frozen=True)
class Chart:
    """The contents of one chart. With `whole` the x axis has a tick at each whole number."""

    title: str
    x: str
    y: str
    points: tuple[Point, ...] = ()
    curves: tuple[Curve, ...] = ()
    levels: tuple[Level, ...] = ()
    whole: bool = False
    note: str = ""


def svg(chart: Chart) -> str:
    """A chart as an SVG element.

    Args:
        chart: Its marks, all finite.

    Returns:
        The element; its text is also there for those who can't see it.
    """
    xs = [point.x for point in chart.points] + [x for curve in chart.curves for x, _ in curve.points]
    ys = [point.y for point in chart.points] + [y for curve in chart.curves for _, y in curve.points]
    for level in chart.levels:
        ys += [level.y - (level.margin or 0.0), level.y + (level.margin or 0.0)]
    x_axis = _Axis.around(xs, LEFT, WIDTH - RIGHT, whole=chart.whole)
    y_axis = _Axis.around(ys, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.title)}" class="chart">',
        f"<title>{escape(chart.title)}</title>",
        *_grid(x_axis, y_axis),
        *(_level(level, y_axis) for level in chart.levels),
        *(_curve(curve, x_axis, y_axis) for curve in chart.curves),
        *(_point(point, x_axis, y_axis) for point in _readable(chart.points, x_axis, y_axis)),
        f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">'
        f"{escape(chart.x)}</text>",
        f'<text class="axis" transform="translate(11 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" '
        f'text-anchor="middle">{escape(chart.y)}</text>',
        "</svg>",
    ]
    return "".join(parts)


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    @classmethod
    def around(cls, values: Sequence[float], start: float, end: float, *, whole: bool = False) -> "_Axis":
        if whole:
            low, high = min(values, default=1) - 0.5, max(values, default=1) + 0.5
            step = max(1, math.ceil((high - low) / 12))
            ticks = tuple(float(n) for n in range(math.ceil(low), math.floor(high) + 1, step))
            return cls(low, high, start, end, ticks)
        low, high = min(values, default=0.0), max(values, default=1.0)
        room = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
        low, high = low - room, high + room
        return cls(low, high, start, end, tuple(_ticks(low, high)))

    def at(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 2)


def _ticks(low: float, high: float, count: int = 5) -> Iterable[float]:
    """Round numbers between two bounds: steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step)
    return (round(n * step, 12) for n in range(first, math.floor(high / step) + 1))


def _grid(x_axis: _Axis, y_axis: _Axis) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for tick in y_axis.ticks:
        y = y_axis.at(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 5}" y="{y + 3}" text-anchor="end">{tick:g}</text>')
    for tick in x_axis.ticks:
        x = x_axis.at(tick)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{bottom + 13}" text-anchor="middle">{tick:g}</text>')
    return parts


def _level(level: Level, y_axis: _Axis) -> str:
    y, right = y_axis.at(level.y), WIDTH - RIGHT
    band = ""
    if level.margin:
        top, bottom = y_axis.at(level.y + level.margin), y_axis.at(level.y - level.margin)
        height = round(bottom - top, 2)
        band = f'<rect class="band" x="{LEFT}" width="{right - LEFT}" y="{top}" height="{height}"/>'
    line = f'<line class="level" x1="{LEFT}" x2="{right}" y1="{y}" y2="{y}"/>'
    return f'<g class="{level.tone}"><title>{escape(level.title)}</title>{band}{line}</g>'


def _curve(curve: Curve, x_axis: _Axis, y_axis: _Axis) -> str:
    points = " ".join(f"{x_axis.at(x)},{y_axis.at(y)}" for x, y in curve.points)
    dashed = " dashed" if curve.dashed else ""
    return (
        f'<g class="{curve.tone}"><title>{escape(curve.title)}</title>'
        f'<polyline class="curve{dashed}" points="{points}"/></g>'
    )


def _readable(points: Iterable[Point], x_axis: _Axis, y_axis: _Axis) -> list[Point]:
    """The points without those labels that would lie on an earlier one; hovering still tells."""
    taken: list[tuple[float, float]] = []
    kept = []
    for point in points:
        x, y = x_axis.at(point.x), y_axis.at(point.y)
        if point.label and any(abs(x - left) < LABEL_WIDTH and abs(y - top) < LABEL_HEIGHT for left, top in taken):
            point = replace(point, label="")
        elif point.label:
            taken.append((x, y))
        kept.append(point)
    return kept


def _point(point: Point, x_axis: _Axis, y_axis: _Axis) -> str:
    x, y = x_axis.at(point.x), y_axis.at(point.y)
    if point.mark == "cross":
        shape = f'<path class="cross" d="M{x - 4} {y - 4}l8 8m0 -8l-8 8"/>'
    else:
        shape = f'<circle class="dot" cx="{x}" cy="{y}" r="4.5"/>'
    label = ""
    if point.label:
        near_end = x > WIDTH - RIGHT - 30
        place = f'x="{x - 7}" text-anchor="end"' if near_end else f'x="{x + 7}"'
        label = f'<text class="label" {place} y="{y + 3.5}">{escape(point.label)}</text>'
    made = f'<g class="{point.tone}"><title>{escape(point.title)}</title>{shape}{label}</g>'
    return f'<a href="{escape(point.link)}">{made}</a>' if point.link else made
