"""The figures to reach, from one run: python -m bench.figures FOLDER.

Reads the bench.json that `python -m bench --keep FOLDER` left, and prints each goal,
what was measured, how many times better than the goal that is, and whether it is met.
What the run has no numbers for is named as not measured. `--document` writes the same
and the pictures into docs/performance.md, between the marks that are there.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from bench.goals import PARTS, Run
from praxis_fast.benchmarks.machine import told_line

if TYPE_CHECKING:
    from bench.goals import Goal

NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Figure:
    """A goal and what a run says about it."""

    part: str
    goal: Goal
    value: float | None
    best: float | None
    """The same from the quickest round of each row."""

    @property
    def ratio(self) -> float:
        """How many times better than the goal; 1 and more is met."""
        assert self.value is not None
        if self.goal.sign == "≥":
            return self.value / self.goal.number
        return self.goal.number / self.value if self.value else float("inf")

    @property
    def is_met(self) -> bool:
        return self.value is not None and self.ratio >= 1

    def cells(self) -> list[str]:
        """A row of the table."""
        goal = f"{self.goal.sign} {self.goal.number:,g} {self.goal.unit}"
        if self.value is None:
            return [self.part, self.goal.text, goal, NOT_MEASURED, "", "", ""]
        measured = f"{shown(self.value)} {self.goal.unit}"
        best = "" if self.best is None else shown(self.best)
        met = "met" if self.is_met else "missed"
        times = shown(self.ratio)
        return [self.part, self.goal.text, goal, measured, best, times, met]


HEAD = [
    "part",
    "figure",
    "goal",
    "measured",
    "quickest rounds",
    "times better than the goal",
    "met",
]


def shown(value: float) -> str:
    """Three digits."""
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.3g}"


def figures(told: dict[str, Any]) -> list[Figure]:
    """All goals, in the order of the parts."""
    run, best = Run(told), Run(told, best=True)
    return [
        Figure(part.__name__, goal, goal.measured(run), goal.measured(best))
        for part in PARTS
        for goal in part()
    ]


def markdown(head: list[str], rows: list[list[str]]) -> list[str]:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def summary(found: list[Figure]) -> str:
    """How many were met."""
    measured = [one for one in found if one.value is not None]
    met = sum(one.is_met for one in measured)
    text = f"{met} of {len(measured)} figures met"
    absent = len(found) - len(measured)
    return f"{text}, {absent} not measured" if absent else text


def pace_line(paces: list[float]) -> str:
    """How evenly the machine ran."""
    best = min(paces)
    low, middle = (f"{best / some(paces):.0%}" for some in (max, statistics.median))
    return f"the machine ran at {low} of its best pace at worst, {middle} in the median"


def lines(told: dict[str, Any]) -> list[str]:
    """All there is to say about a run."""
    found = figures(told)
    return [
        f"{told_line(told['machine'])}; scale {told['scale']}, {told['started']}",
        pace_line(told["paces"]),
        *(f"limit raised: {text}" for text in told["limits_raised"]),
        *(f"not installed: {text}" for text in told["not_installed"]),
        *(f"failed: {text}" for text in told["failed"]),
        "",
        *markdown(HEAD, [one.cells() for one in found]),
        "",
        "requests: not measured, there is no bench of A2A requests yet",
        summary(found),
    ]


def read(folder: Path) -> dict[str, Any]:
    """What a run has left."""
    told: dict[str, Any] = orjson.loads((folder / "bench.json").read_bytes())
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--document", action="store_true")
    options = parser.parse_args()
    told = read(options.folder)
    print("\n".join(lines(told)))
    if options.document:
        from bench.document import write

        write(told, options.folder)


if __name__ == "__main__":
    main()
