"""Who is next: messages in lanes, one in flight in each.

Theory of operation
-------------------
A lane is all that waits for one endpoint about one task. Its head is sent alone; the
next message waits until the head was delivered or given up, so that order holds.

    (endpoint, task) ─► lane: [n, n, n]   head due at t ─► heap ─► take ─► in flight
                                                            └► parked: endpoint is full

A due lane whose endpoint has all its requests running is parked with that endpoint and
comes back when one of them ends: a slow endpoint holds up nobody else.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import NamedTuple


class Slot(NamedTuple):
    """The head of a lane, to be sent now."""

    endpoint: str
    task: str
    number: int
    ticket: int
    """Tells this lane from one of the same name that was dropped."""


@dataclass(slots=True, eq=False)
class _Lane:
    endpoint: str
    task: str
    ticket: int
    queue: deque[int]
    """Never empty; the lane is in the heap, parked or in flight."""


@dataclass(slots=True, eq=False)
class _Side:
    """One endpoint's share."""

    lanes: dict[str, _Lane] = field(default_factory=dict)
    parked: deque[_Lane] = field(default_factory=deque)
    in_flight: int = 0
    waiting: int = 0


class Lanes:
    """Hands out heads that are due, within the bounds per endpoint and in total."""

    def __init__(self, per_endpoint: int, total: int) -> None:
        self._per_endpoint = per_endpoint
        self._total = total
        self._in_flight = 0
        self._sides: dict[str, _Side] = {}
        self._heap: list[tuple[float, int, _Lane]] = []
        self._order = count()

    @property
    def in_flight(self) -> int:
        """Messages being sent."""
        return self._in_flight

    @property
    def depth(self) -> int:
        """Messages of all endpoints that are not finished."""
        return sum(side.waiting for side in self._sides.values())

    def waiting(self, endpoint: str) -> int:
        """Messages of an endpoint that are not finished."""
        side = self._sides.get(endpoint)
        return 0 if side is None else side.waiting

    def add(self, endpoint: str, task: str, number: int, due: float = 0.0) -> None:
        """Put a message at the end of its lane; `due` counts when it is the head."""
        side = self._sides.setdefault(endpoint, _Side())
        side.waiting += 1
        if (lane := side.lanes.get(task)) is not None:
            lane.queue.append(number)
            return
        lane = side.lanes[task] = _Lane(
            endpoint, task, next(self._order), deque((number,))
        )
        self._push(lane, due)

    def take(self, now: float) -> list[Slot]:
        """Every head that is due and may be sent; they are in flight from now on."""
        slots: list[Slot] = []
        while self._heap and self._heap[0][0] <= now:
            if self._in_flight >= self._total:
                break
            lane = heappop(self._heap)[2]
            side = self._sides.get(lane.endpoint)
            if side is None or side.lanes.get(lane.task) is not lane:
                continue
            if side.in_flight >= self._per_endpoint:
                side.parked.append(lane)
                continue
            side.in_flight += 1
            self._in_flight += 1
            head = lane.queue[0]
            slots.append(Slot(lane.endpoint, lane.task, head, lane.ticket))
        return slots

    def finish(self, slot: Slot) -> None:
        """The head is delivered or given up; the next one is due at once."""
        self._end(slot, None)

    def retry(self, slot: Slot, due: float) -> None:
        """The head is to be sent again, and nothing of its lane before that."""
        self._end(slot, due)

    def drop(self, endpoint: str) -> None:
        """Forget everything of an endpoint; what is in flight ends by itself."""
        side = self._sides.get(endpoint)
        if side is None:
            return
        side.lanes.clear()
        side.parked.clear()
        side.waiting = 0
        if not side.in_flight:
            del self._sides[endpoint]

    def next_deadline(self) -> float | None:
        """When `take` has something again; None: not before something else happens."""
        if not self._heap or self._in_flight >= self._total:
            return None
        return self._heap[0][0]

    def _end(self, slot: Slot, due: float | None) -> None:
        self._in_flight -= 1
        side = self._sides[slot.endpoint]
        side.in_flight -= 1
        lane = side.lanes.get(slot.task)
        if lane is not None and lane.ticket == slot.ticket:
            if due is None:
                lane.queue.popleft()
                side.waiting -= 1
            if lane.queue:
                self._push(lane, due or 0.0)
            else:
                del side.lanes[slot.task]
        if side.parked:
            self._push(side.parked.popleft(), 0.0)
        if not side.lanes and not side.in_flight:
            del self._sides[slot.endpoint]

    def _push(self, lane: _Lane, due: float) -> None:
        heappush(self._heap, (due, next(self._order), lane))
