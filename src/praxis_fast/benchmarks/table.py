"""Tables as people and programs read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from praxis_fast.benchmarks.rows import Row, Table

__all__ = ["figure", "lines", "markdown", "message", "ratio", "times"]

NAME_WIDTH: Final = 30
TIMES: Final = (("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0))
MEMORY: Final = (("B", 1.0), ("KiB", 1024.0), ("MiB", 1024.0**2))
COUNTS: Final = (("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9))


def scaled(value: float, units: Iterable[tuple[str, float]]) -> str:
    """Three digits and the unit that keeps them in front of the point."""
    (name, size), *larger = units
    for other, other_size in larger:
        if abs(value) >= other_size:
            name, size = other, other_size
    number = value / size
    digits = 0 if abs(number) >= 99.95 else 1 if abs(number) >= 9.995 else 2
    return f"{number:.{digits}f} {name}".rstrip()


def figure(table: Table, cost: float) -> str:
    """What one item costs, of a run's cost."""
    return scaled(cost / table.items, MEMORY if table.cost == "memory" else TIMES)


def rate(table: Table, cost: float) -> str:
    """Bytes a second, or items where bytes do not count."""
    if table.cost != "time" or not cost:
        return ""
    if table.bytes:
        return f"{scaled(table.bytes / cost, COUNTS)}B/s"
    return f"{scaled(table.items / cost, COUNTS)}/s" if table.items > 1 else ""


def ratio(table: Table, row: Row) -> float:
    """How many times better than the first row."""
    return table.rows[0].median / row.median if row.median else 0.0


def times(table: Table, row: Row) -> str:
    """The ratio as text."""
    value = ratio(table, row)
    return f"{value:,.0f}x" if value >= 99.5 else f"{value:.3g}x"


def cells(table: Table, row: Row) -> list[str]:
    """Cost of an item, lowest and highest of the rounds, rate, ratio."""
    costs = row.median, min(row.samples), max(row.samples)
    told = [figure(table, cost) for cost in costs]
    if table.cost == "memory":
        return told[:1]
    return [*told, rate(table, row.median), times(table, row)]


def heads(table: Table) -> list[str]:
    """What the cells are."""
    rest = [] if table.cost == "memory" else ["min", "max", "rate", "ratio"]
    return [f"per {table.unit}", *rest]


def lines(table: Table) -> list[str]:
    """The table as text; ratios are to the first row."""
    size = f", {scaled(table.bytes, COUNTS)}B" if table.bytes else ""
    title = f"{table.title} ({table.items:,} {table.unit}s{size})"
    if table.items == 1:
        title = table.title
    return [
        title,
        _line("", heads(table)),
        *(_line(row.name, cells(table, row)) for row in table.rows),
    ]


def _line(name: str, columns: list[str]) -> str:
    return f"  {name:{NAME_WIDTH}}" + "".join(f"{cell:>13}" for cell in columns)


def markdown(table: Table) -> list[str]:
    """The table as Markdown."""
    head = [table.title, *heads(table)]
    rows = [_cells([row.name, *cells(table, row)]) for row in table.rows]
    return [_cells(head), "|" + "---|" * len(head), *rows]


def _cells(columns: list[str]) -> str:
    return "| " + " | ".join(columns) + " |"


def message(table: Table) -> dict[str, Any]:
    """The table for a program."""
    return {
        "title": table.title,
        "unit": table.unit,
        "cost": "bytes" if table.cost == "memory" else "seconds",
        "items": table.items,
        "bytes": table.bytes,
        "curve": table.curve,
        "x": table.x,
        "rows": [_row(table, row) for row in table.rows],
    }


def _row(table: Table, row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "per_item": row.median / table.items,
        "min": min(row.samples) / table.items,
        "max": max(row.samples) / table.items,
        "spread": row.spread,
        "ratio": ratio(table, row),
        "samples": row.samples,
    }
