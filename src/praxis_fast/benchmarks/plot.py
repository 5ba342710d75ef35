"""Pictures of bench tables: bars for each table, and cost against N on log axes.

SVG is written by hand, so that a plot needs nothing installed; PNG needs cairosvg.
"""

from __future__ import annotations

import importlib
import math
from html import escape
from typing import TYPE_CHECKING, Any, Final

from praxis_fast.benchmarks.table import TIMES, figure, scaled, times
from praxis_fast.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from praxis_fast.benchmarks.rows import Table

__all__ = ["check_target", "draw", "save"]

WIDTH: Final = 580
GAP: Final = 24
COLUMNS: Final = 2
LABELS: Final = 200  # for the names at the left of bars
FIGURES: Final = 120  # for cost and ratio at their right
ROW: Final = 20
HEAD: Final = 34
CURVE_HEIGHT: Final = 260

OURS: Final = "#0b7a5c"
PLAIN: Final = "#9aa3ad"
LEAST: Final = "#3a444e"
OTHERS: Final = (
    *("#4a78b0", "#c2703d", "#8257a8", "#b0912e"),
    *("#a8405f", "#3d8fa0", "#7d5a3c", "#c98bb9"),
)

STYLE: Final = (
    "text{font:12px system-ui,sans-serif;fill:#1f2933}"
    ".title{font-weight:600;font-size:13px}.small{font-size:10px;fill:#5f6b76}"
    ".right{text-anchor:end}.middle{text-anchor:middle}"
    ".grid{stroke:#e3e7eb}"
)

Panel = tuple[int, list[str]]


def check_target(target: Path) -> None:
    """Refuse what cannot be written, before anything is measured."""
    if target.suffix not in (".svg", ".png"):
        raise UsageError(f"plot {target} is neither .svg nor .png")
    if target.suffix == ".png" and _cairosvg() is None:
        raise UsageError("a plot as .png needs cairosvg: pip install cairosvg")
    if not target.parent.is_dir():
        raise UsageError(f"plot {target}: no folder {target.parent}")


def save(told: Sequence[tuple[str, Table]], target: Path) -> None:
    """Draw the tables into a file."""
    svg = draw(told)
    if target.suffix == ".svg":
        target.write_text(svg, encoding="utf-8")
        return
    renderer = _cairosvg()
    assert renderer is not None
    renderer.svg2png(bytestring=svg.encode(), write_to=str(target), scale=2)


def _cairosvg() -> Any:
    try:
        return importlib.import_module("cairosvg")
    except (ImportError, OSError):  # the package, or the library it loads
        return None


def draw(told: Sequence[tuple[str, Table]]) -> str:
    """All tables as one picture."""
    panels = [_bars(table) for _, table in told if len(table.rows) > 1]
    panels += [_curve(name, points) for name, points in _curves(told)]
    heights = [GAP] * COLUMNS
    body = []
    for height, parts in panels:
        column = heights.index(min(heights))
        x, y = GAP + column * (WIDTH + GAP), heights[column]
        body.append(f'<g transform="translate({x},{y})">{"".join(parts)}</g>')
        heights[column] += height + GAP
    width, height = GAP + COLUMNS * (WIDTH + GAP), max(heights)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}"><style>{STYLE}</style>'
        f'<rect width="{width}" height="{height}" fill="#fff"/>{"".join(body)}</svg>\n'
    )


def colour(name: str, number: int) -> str:
    """Ours, the plain twin and the floor look the same everywhere."""
    if name.startswith(("core", "praxis-fast")):
        return OURS
    if name.startswith("plain twin"):
        return PLAIN
    return LEAST if name == "C floor" else OTHERS[number % len(OTHERS)]


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    mark = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{mark}>{escape(text)}</text>'


def _bars(table: Table) -> Panel:
    """A bar for each row; its length is the logarithm of the cost."""
    costs = [max(row.median / table.items, 1e-12) for row in table.rows]
    low = math.floor(math.log10(min(costs)) - 0.01)
    high = max(low + 1, math.ceil(math.log10(max(costs))))
    room = (WIDTH - LABELS - FIGURES) / (high - low)
    parts = [_text(0, 14, f"{table.title}, per {table.unit}", "title")]
    end = HEAD + ROW * len(costs)
    for power in range(low, high + 1):
        x = LABELS + (power - low) * room
        parts.append(_grid(x, HEAD - 8, x, end))
        parts.append(_text(x, end + 12, _tick(table, power), "small middle"))
    for number, (row, cost) in enumerate(zip(table.rows, costs, strict=True)):
        y, length = HEAD + ROW * number, (math.log10(cost) - low) * room
        told = [figure(table, row.median)]
        if table.cost == "time":
            told.append(times(table, row))
        fill = colour(row.name, number)
        parts.append(_text(LABELS - 6, y + 11, row.name, "right"))
        parts.append(_rect(LABELS, y, max(length, 1), 14, fill))
        parts.append(_text(LABELS + length + 5, y + 11, ", ".join(told)))
    return end + 20, parts


def _curves(
    told: Iterable[tuple[str, Table]],
) -> list[tuple[str, list[Table]]]:
    """The tables of each curve that has more than one point."""
    found: dict[str, dict[float, Table]] = {}
    for _, table in told:
        if table.curve:
            found.setdefault(table.curve, {})[table.x] = table
    return [
        (name, [points[x] for x in sorted(points)])
        for name, points in found.items()
        if len(points) > 1
    ]


def _curve(name: str, tables: Sequence[Table]) -> Panel:
    """Cost of an item against N, both logarithmic, a line for each contender."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for table in tables:
        for row in table.rows:
            point = math.log10(table.x), math.log10(row.median / table.items)
            lines.setdefault(row.name, []).append(point)
    across = _range(point[0] for line in lines.values() for point in line)
    up = _range(point[1] for line in lines.values() for point in line)
    frame = _Frame(across, up)
    parts = [_text(0, 14, f"{name}: cost per {tables[0].unit} against N", "title")]
    for power in range(across[0], across[1] + 1):
        x = frame.x(power)
        parts.append(_grid(x, HEAD, x, CURVE_HEIGHT - HEAD))
        text = f"{10**power:,}"
        parts.append(_text(x, CURVE_HEIGHT - HEAD + 14, text, "small middle"))
    for power in range(up[0], up[1] + 1):
        y = frame.y(power)
        parts.append(_grid(frame.left, y, frame.right, y))
        tick = _tick(tables[0], power)
        parts.append(_text(frame.left - 6, y + 4, tick, "small right"))
    for number, (label, line) in enumerate(lines.items()):
        parts += frame.line(label, line, colour(label, number), number)
    return CURVE_HEIGHT, parts


class _Frame:
    """Where the points of a curve lie."""

    left: Final = 60
    right: Final = WIDTH - 180

    def __init__(self, across: tuple[int, int], up: tuple[int, int]) -> None:
        self._across = across
        self._up = up

    def x(self, power: float) -> float:
        """To the right."""
        low, high = self._across
        return self.left + (power - low) / (high - low) * (self.right - self.left)

    def y(self, power: float) -> float:
        """Upwards."""
        low, high = self._up
        share = (power - low) / (high - low)
        return CURVE_HEIGHT - HEAD - share * (CURVE_HEIGHT - 2 * HEAD)

    def line(
        self, label: str, line: Sequence[tuple[float, float]], fill: str, number: int
    ) -> list[str]:
        """The points, what joins them, and what they are."""
        places = [(self.x(x), self.y(y)) for x, y in line]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        y = HEAD + 6 + 16 * number
        look = f'fill="none" stroke="{fill}" stroke-width="2"'
        return [
            f'<polyline points="{joined}" {look}/>',
            *(_dot(x, y, fill) for x, y in places),
            _rect(self.right + 14, y - 8, 10, 10, fill),
            _text(self.right + 30, y + 1, label),
        ]


def _grid(x1: float, y1: float, x2: float, y2: float) -> str:
    place = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line class="grid" {place}/>'


def _rect(x: float, y: float, width: float, height: float, fill: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect {place} fill="{fill}"/>'


def _dot(x: float, y: float, fill: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{fill}"/>'


def _range(values: Iterable[float]) -> tuple[int, int]:
    """The powers of ten around the values; never nothing."""
    found = list(values)
    low = math.floor(min(found))
    return low, max(low + 1, math.ceil(max(found)))


def _tick(table: Table, power: int) -> str:
    if table.cost == "memory":
        return f"{10**power:,} B"
    # A hair more, so that 1e-6 is a microsecond in spite of rounding.
    text = scaled(10.0**power * (1 + 1e-9), TIMES)
    return text.replace(".00", "").replace(".0", "")
