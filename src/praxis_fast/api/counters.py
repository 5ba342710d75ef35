"""What the event streams count; plain numbers, read when somebody asks for metrics."""

from __future__ import annotations

from bisect import bisect_left

# Seconds. The goals of a turn lie between 0.1 and 10 ms; what is beyond is trouble.
BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5)


class Histogram:
    """Counts values by upper bound."""

    __slots__ = ("_counts", "total")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Add a value."""
        self._counts[bisect_left(BOUNDS, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self._counts)

    @property
    def mean(self) -> float:
        """The average; 0 without any."""
        return self.total / (self.count or 1)

    def buckets(self) -> list[tuple[str, int]]:
        """Each bound and how many values are not above it."""
        found: list[tuple[str, int]] = []
        below = 0
        names = [*(f"{bound:g}" for bound in BOUNDS), "+Inf"]
        for name, count in zip(names, self._counts, strict=True):
            below += count
            found.append((name, below))
        return found


class Counters:
    """Of all streams together."""

    __slots__ = ("dropped", "expelled", "queued", "resets", "resumed", "turns")

    def __init__(self) -> None:
        self.queued = 0
        """Events given to subscribers' queues, each counted for each subscriber."""
        self.dropped = 0
        """Those of them that a bound took away again, told as gaps."""
        self.expelled = 0
        """Subscribers sent away because they did not keep up."""
        self.resumed = 0
        self.resets = 0
        self.turns = Histogram()
        """Seconds from the first event of a loop turn until its flush ended."""
