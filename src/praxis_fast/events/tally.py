"""How many events of each type a bus has published."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from praxis_fast.events.bus import EventBus
    from praxis_fast.events.event import Event

# Each type is a line of the metrics for ever; users' code may make up any number.
MAX_TYPES = 1000
OTHER = "other"


class Tally:
    """A sink that counts by type; beyond `MAX_TYPES` all are `other`."""

    def __init__(self, bus: EventBus) -> None:
        self.counts: Counter[str] = Counter()
        self._sink = bus.add_sink(self._on_event)

    def close(self) -> None:
        """Count no more."""
        self._sink.close()

    def _on_event(self, event: Event) -> None:
        name = event.type
        if name not in self.counts and len(self.counts) >= MAX_TYPES:
            name = OTHER
        self.counts[name] += 1
