"""The bounded queue between the bus and one subscriber of this process."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Literal

from praxis_fast.errors import UsageError
from praxis_fast.events.event import Event
from praxis_fast.events.payloads import gap_payload
from praxis_fast.events.stages import Stages

if TYPE_CHECKING:
    from collections.abc import Callable

Policy = Literal["disconnect", "drop_oldest", "coalesce"]
POLICIES = ("disconnect", "drop_oldest", "coalesce")


def check_policy(policy: str) -> None:
    """Refuse a policy nobody knows."""
    if policy not in POLICIES:
        raise UsageError(f"policy {policy!r} is not one of {', '.join(POLICIES)}")


class Mailbox:
    """Events in order, at most `max_events` of them, for one reader.

    What is lost is said aloud: `take` gives a `gap` event before what was kept.
    Under `coalesce` a newer event of the same type about the same peer or task takes
    the place of the one that still waits; `from` and `to` then span kept events too.
    """

    __slots__ = (
        "__weakref__",
        "_dropped",
        "_first",
        "_gap_stamp",
        "_items",
        "_last",
        "_latest",
        "_max",
        "_stages",
        "_timed",
        "_timed_since",
        "expelled",
        "is_closed",
        "policy",
        "wake",
    )

    def __init__(
        self, policy: Policy, max_events: int, stages: Stages | None = None
    ) -> None:
        check_policy(policy)
        if max_events < 1:
            raise UsageError(f"max_events is {max_events}, at least 1 is needed")
        self.policy = policy
        self.is_closed = False
        self.expelled: Event | None = None
        """The event that was one too many under `disconnect`."""
        self.wake: Callable[[], None] | None = None
        self._max = max_events
        self._stages = stages or Stages()
        self._timed: Event | None = None
        self._timed_since = 0.0
        self._items: deque[Event] = deque()
        self._latest: OrderedDict[object, Event] = OrderedDict()
        self._first = self._last = self._dropped = 0
        self._gap_stamp: Event | None = None

    def __len__(self) -> int:
        return len(self._items) + len(self._latest)

    def put(self, event: Event) -> bool:
        """Add an event; False when the mailbox takes no more, ever."""
        if self.is_closed or self.expelled is not None:
            return False
        if self.policy == "coalesce":
            self._put_latest(event)
        elif len(self._items) < self._max:
            self._items.append(event)
        elif self.policy == "disconnect":
            self.expelled = event
        else:
            self._drop(self._items.popleft())
            self._items.append(event)
        if self.wake is not None:
            self.wake()
        return self.expelled is None

    def time(self, event: Event, since: float) -> None:
        """Tell how long this event, which was put, waited until somebody took it."""
        if self._timed is None:
            self._timed, self._timed_since = event, since

    def take(self) -> Event | None:
        """The next event or the gap before it; None when nothing waits."""
        if self._dropped:
            return self._take_gap()
        if self._items:
            event = self._items.popleft()
        elif self._latest:
            event = self._latest.popitem(last=False)[1]
        else:
            return None
        if event is self._timed:
            self._timed = None
            self._stages.wrote(self._timed_since)
        return event

    def finish(self) -> None:
        """Accept no more; what waits can still be taken."""
        self.is_closed = True
        if self.wake is not None:
            self.wake()

    def close(self) -> None:
        """Accept no more and forget what waits."""
        self.is_closed = True
        self._items.clear()
        self._latest.clear()
        self._dropped = 0
        if self.wake is not None:
            self.wake()

    def _put_latest(self, event: Event) -> None:
        topic = (event.type, event.peer_id, event.task_id)
        older = self._latest.pop(topic, None)
        if older is None and len(self._latest) >= self._max:
            older = self._latest.popitem(last=False)[1]
        if older is not None:
            self._drop(older)
        self._latest[topic] = event

    def _drop(self, event: Event) -> None:
        if not self._dropped:
            self._first = event.seq
        self._first = min(self._first, event.seq)
        self._last = max(self._last, event.seq)
        self._dropped += 1
        self._gap_stamp = event
        self._stages.dropped += 1
        if event is self._timed:
            self._timed = None

    def _take_gap(self) -> Event:
        event = self._gap_stamp
        assert event is not None
        self._stages.gaps += 1
        gap = Event(
            type="gap",
            data=dict(gap_payload(self._first, self._last, self._dropped)),
            source=event.source,
            time=event.time,
            epoch=event.epoch,
            seq=self._last,
        )
        self._first = self._last = self._dropped = 0
        self._gap_stamp = None
        return gap
