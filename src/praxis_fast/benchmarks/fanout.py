"""Fan-out inside the process: frames to subscribers, before any socket sees them.

The frame has the 355 bytes of a small event; what sockets cost is measured elsewhere.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from praxis_fast._pure import fanout as plain
from praxis_fast._pure import matcher as plain_matcher
from praxis_fast.benchmarks.matching import check
from praxis_fast.benchmarks.muxing import Stopwatch
from praxis_fast.benchmarks.rows import Contender, Table, interleave
from praxis_fast.events.event import EventFilter

try:
    from praxis_fast._core import fanout as compiled
    from praxis_fast._core import matcher as compiled_matcher
except ImportError:
    compiled = compiled_matcher = None

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FRAME", "SIZES", "measure", "measure_publish", "twins"]

FRAME: Final = bytes(range(1, 256)) + bytes(range(1, 101))

# Subscribers of one group, and events per turn.
SIZES: Final = ((1000, 1), (1000, 16), (10_000, 1))


def twins() -> dict[str, tuple[Any, Any]]:
    """Fan-out and matcher of each twin: the plain one first."""
    found = {
        "plain twin": (plain, plain_matcher),
        "core": (compiled, compiled_matcher),
    }
    return {name: pair for name, pair in found.items() if pair[0] is not None}


class Turns:
    """A fan-out whose subscribers write whatever they are handed at once."""

    def __init__(self, twin: tuple[Any, Any], filters: Sequence[EventFilter]) -> None:
        module, matcher_module = twin
        matcher = matcher_module.Matcher()
        self._fanout = module.Fanout()
        groups: dict[Any, None] = {}
        for key, wanted in enumerate(filters):
            groups[matcher.add(key, wanted)] = None
        for group in groups:
            for key in group.keys:
                self._fanout.subscribe(key, group)
        self._groups = tuple(groups)
        self._seq = 0

    def publish(self, count: int) -> None:
        """So many events to every group."""
        for _ in range(count):
            self._seq += 1
            self._fanout.publish(FRAME, self._groups, self._seq)

    def flush(self) -> int:
        """Everybody gets what there is; how many bytes that was."""
        size = 0
        written = self._fanout.written
        for key, data in self._fanout.flush():
            size += len(data)
            written(key, len(data))
        return size

    def run(self, count: int, watch: Stopwatch) -> int:
        """One turn, all of it on the clock."""
        return int(watch.time(self._turn, count))

    def _turn(self, count: int) -> int:
        self.publish(count)
        return self.flush()

    def run_publish(self, watch: Stopwatch) -> int:
        """One event; only publishing is on the clock."""
        watch.time(self.publish, 1)
        return self.flush()


class Queues:
    """A queue for each subscriber, as a hub in plain Python has it."""

    def __init__(self, subscribers: int) -> None:
        self._queues: list[deque[bytes]] = [deque() for _ in range(subscribers)]

    def publish(self) -> None:
        """One event to every queue."""
        for queue in self._queues:
            queue.append(FRAME)

    def flush(self) -> int:
        """Every queue joined and emptied; how many bytes that was."""
        size = 0
        for queue in self._queues:
            size += len(b"".join(queue))
            queue.clear()
        return size

    def run(self, count: int, watch: Stopwatch) -> int:
        """One turn, all of it on the clock."""
        return int(watch.time(self._turn, count))

    def _turn(self, count: int) -> int:
        for _ in range(count):
            self.publish()
        return self.flush()

    def run_publish(self, watch: Stopwatch) -> int:
        """One event; only publishing is on the clock."""
        watch.time(self.publish)
        return self.flush()


def measure(
    subscribers: int = 1000, events: int = 1, *, groups: int = 1, rounds: int = 5
) -> Table:
    """Turns of so many events to subscribers of so many groups."""
    watch = Stopwatch()
    filters = [EventFilter(tasks={str(n % groups)}) for n in range(subscribers)]
    rivals = [
        Contender(name, partial(Turns(twin, filters).run, events, watch))
        for name, twin in twins().items()
    ]
    queues = partial(Queues(subscribers).run, events, watch)
    rivals.append(Contender("a deque per subscriber", queues))
    rows = interleave(check(rivals), rounds=rounds, clock=watch)
    whom = f"{subscribers} subscribers"
    curve = f"fan-out, {events} per turn" if groups == 1 else ""
    if groups > 1:
        whom += f" in {groups} groups"
    title = f"fan-out to {whom}, {events} events per turn"
    deliveries = subscribers * events
    size = deliveries * len(FRAME)
    return Table(title, deliveries, size, rows, "frame", curve, subscribers)


def measure_publish(
    subscribers: int = 1000, *, groups: int | None = None, rounds: int = 5
) -> Table:
    """Publishing alone; without `groups` every subscriber's filter is its own."""
    watch = Stopwatch()
    count = subscribers if groups is None else groups
    filters = [EventFilter(tasks={str(n % count)}) for n in range(subscribers)]
    rivals = [
        Contender(name, partial(Turns(twin, filters).run_publish, watch))
        for name, twin in twins().items()
    ]
    queues = partial(Queues(subscribers).run_publish, watch)
    rivals.append(Contender("a deque per subscriber", queues))
    rows = interleave(check(rivals), rounds=rounds, clock=watch)
    title = f"publishing to {subscribers} subscribers in {count} groups"
    size = subscribers * len(FRAME)
    return Table(title, subscribers, size, rows, "subscriber", "publish", subscribers)
