"""How long events take to each class of subscribers, and what becomes of them there.

Theory of operation
-------------------
Reading a clock several times for each event would cost more than matching it. The bus
has one `Stopwatch`, which times one event in `every`, from the moment the event got its
number; everybody on its way asks whether the event at hand is that one:

    number ─► match ─► enqueue ─► written

Each stage has a histogram of the seconds since the number was given, one for each class
of subscribers. `enqueue`: it is in every queue. `written`: everybody of the class who
keeps up has it; whoever does not is counted by its losses.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from praxis_fast.events.histogram import FAST_BOUNDS, Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

STAGES = ("match", "enqueue", "written")

# With this a timed event costs the others less than a hundredth of a publish each.
TIMED_EVERY = 64


class Stopwatch:
    """Says which event is timed, and since when."""

    __slots__ = ("_every", "begun", "clock", "due", "seq")

    def __init__(
        self,
        every: int = TIMED_EVERY,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._every = every
        self.clock = clock
        self.seq = 0
        """The event that is timed."""
        self.begun = 0.0
        self.due = 1
        """The next event with this number or a higher one is timed."""

    def begin(self, seq: int) -> None:
        """Time this event."""
        self.seq = seq
        self.due = seq + self._every
        self.begun = self.clock()

    def time_next(self) -> None:
        """Time the next event: where there are few, a sample of them tells little."""
        self.due = 0

    @property
    def passed(self) -> float:
        """Seconds since it got its number."""
        return self.clock() - self.begun


class Stages:
    """One class of subscribers: histograms of its stages, and plain counts."""

    __slots__ = (
        "dropped",
        "enqueue",
        "expelled",
        "gaps",
        "match",
        "queued",
        "watch",
        "written",
    )

    def __init__(
        self, watch: Stopwatch | None = None, bounds: Sequence[float] = FAST_BOUNDS
    ) -> None:
        self.watch = watch or Stopwatch()
        self.match = Histogram(bounds)
        self.enqueue = Histogram(bounds)
        self.written = Histogram(bounds)
        self.queued = 0
        """Events given to subscribers' queues, each counted for each subscriber."""
        self.dropped = 0
        """Those of them that a bound took away again, told as gaps."""
        self.gaps = 0
        """Gaps that were told."""
        self.expelled = 0
        """Subscribers sent away because they did not keep up."""

    def matched(self) -> None:
        """The timed event was compared with every filter of the class."""
        self.match.observe(self.watch.passed)

    def enqueued(self) -> None:
        """The timed event is in every queue it belongs to."""
        self.enqueue.observe(self.watch.passed)

    def wrote(self, begun: float) -> None:
        """An event timed since `begun` has reached its subscribers."""
        self.written.observe(self.watch.clock() - begun)
