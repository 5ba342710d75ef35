"""Contenders measured in turn, and the table of what came out."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Contender", "Row", "Table", "interleave"]

# Shorter samples drown in the clock and in what else the machine does.
SHORTEST_SAMPLE: Final = 0.005

# Where most of a run is off the clock, a sample ends after this long all the same.
LONGEST_SAMPLE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Contender:
    """An implementation; `run` works through the corpus once, returns its answer."""

    name: str
    run: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Row:
    """What one run cost a contender, one number per round: seconds as a rule."""

    name: str
    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """The cost of one run."""
        return statistics.median(self.samples)

    @property
    def best(self) -> float:
        """The cost of the quickest run: what is left when nothing else disturbs."""
        return min(self.samples)

    @property
    def spread(self) -> float:
        """Distance between the quartiles as a part of the median."""
        if len(self.samples) < 2 or not self.median:
            return 0.0
        low, _, high = statistics.quantiles(self.samples, n=4)
        return (high - low) / self.median


@dataclass(frozen=True, slots=True)
class Table:
    """Rows over the same work: so many items (called `unit`), so many bytes.

    Tables of one `curve` are points of a plot: their cost against `x`. A `cost` of
    "memory" means that samples are bytes, not seconds.
    """

    title: str
    items: int
    bytes: int
    rows: tuple[Row, ...]
    unit: str = "text"
    curve: str = ""
    x: float = 0.0
    cost: str = "time"

    def lines(self) -> list[str]:
        """The table as text; ratios are to the first row."""
        unit = self.unit
        head = f"{self.title}: {self.items} {unit}s, {self.bytes} bytes"
        names = f"{'ns/' + unit:>12}{'GB/s':>9}{'best':>9}{'spread':>8}{'ratio':>9}"
        return [head, " " * 28 + names, *map(self._line, self.rows)]

    def _line(self, row: Row) -> str:
        nanoseconds = row.median / self.items * 1e9
        speed = self.bytes / row.median / 1e9
        best = self.bytes / row.best / 1e9
        ratio = self.rows[0].median / row.median
        figures = f"{nanoseconds:>12,.1f}{speed:>9.3f}{best:>9.3f}"
        return f"  {row.name:26}{figures}{row.spread:>8.1%}{ratio:>8.1f}x"


def interleave(
    contenders: Sequence[Contender],
    *,
    rounds: int = 7,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Row, ...]:
    """Measure all contenders in turn, round after round, in one run."""
    repeats = [_repeats(contender, clock) for contender in contenders]
    seconds: list[list[float]] = [[] for _ in contenders]
    for _ in range(rounds):
        for contender, times, samples in zip(contenders, repeats, seconds, strict=True):
            samples.append(_sample(contender, times, clock))
    return tuple(
        Row(contender.name, tuple(samples))
        for contender, samples in zip(contenders, seconds, strict=True)
    )


def _repeats(contender: Contender, clock: Callable[[], float]) -> int:
    """How many runs make a sample; the first one also warms up."""
    _sample(contender, 1, clock)
    start = time.perf_counter()
    once = _sample(contender, 1, clock)
    all_of_it = time.perf_counter() - start
    enough, most = SHORTEST_SAMPLE / max(once, 1e-9), LONGEST_SAMPLE / all_of_it
    return max(1, round(min(enough, most)))


def _sample(contender: Contender, times: int, clock: Callable[[], float]) -> float:
    run = contender.run
    start = clock()
    for _ in range(times):
        run()
    return (clock() - start) / times
