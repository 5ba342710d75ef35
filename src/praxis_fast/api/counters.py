"""What the event streams count; plain numbers, read when somebody asks for metrics."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from praxis_fast.events.histogram import Histogram

if TYPE_CHECKING:
    from praxis_fast.events.stages import Stages


class Counters:
    """Of all streams together."""

    __slots__ = ("classes", "closes", "hits", "resets", "resumed", "turns")

    def __init__(self, *classes: Stages) -> None:
        self.classes = classes
        self.resumed = 0
        """Subscribers that continued where they had been."""
        self.resets = 0
        self.turns = Histogram()
        """Seconds from the first event of a loop turn until its flush ended."""
        self.hits: Counter[str] = Counter()
        """Which limits were hit, and how often."""
        self.closes: Counter[int] = Counter()
        """With which codes WebSocket clients were closed."""

    @property
    def queued(self) -> int:
        """Events given to subscribers' queues, each counted for each subscriber."""
        return sum(stages.queued for stages in self.classes)

    @property
    def dropped(self) -> int:
        """Those of them that a bound took away again, told as gaps."""
        return sum(stages.dropped for stages in self.classes)

    @property
    def expelled(self) -> int:
        """Subscribers sent away because they did not keep up."""
        return sum(stages.expelled for stages in self.classes)
