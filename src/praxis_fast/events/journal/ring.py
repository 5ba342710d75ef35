"""The journal: the newest events, encoded, for subscribers that come back.

Theory of operation
-------------------
The journal is a sink of the bus: it sees every event, in order, and keeps it without
gaps between `first` and `last`. `data` is encoded when the event is published, because
its publisher may change the object afterwards; every shape of a message is later made
from the same bytes.

    seq:      … 41 │ 42  43  44  45  46  47 │  48 …
           evicted │ first   ▲         last │ not yet published
                             └ position: the last event the subscriber has

How a subscriber gets from the past to the present without losing or repeating an event:

1. `position` turns what it names ("epoch-seq") into a number, or says why it cannot.
2. `read` gives the next events after the position, a few at a time; the subscriber is
   not among the receivers of live events meanwhile. The ring is its queue, so it costs
   no memory of its own. A subscriber that is slower than the ring is told `evicted`.
3. When a `read` has reached `last`, the subscriber is added to the receivers in the
   same step of the loop. Publishing is synchronous, so nothing is published between
   the two; an event that is stamped but still waits for delivery reaches the journal
   and the receivers after this step. So the live stream begins exactly at `last + 1`.

The second half of 3 needs the journal to be a sink before the one that serves the
receivers, and none between them that hands a subscriber over.

A journal may have a past: events older than the ring, on disk (`file`). `read`
serves the ring alone; what is older comes from `fetch`, and a subscriber goes over from
one to the other at any number, for both count the same events.

The bus may begin another epoch while it runs, its numbers going on. A position of an
epoch that ended so is as good as one of the present epoch.
"""

from __future__ import annotations

from collections import deque
from copy import copy
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import orjson
from msgspec.structs import force_setattr, replace

from praxis_fast.limits import JournalLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from praxis_fast.events.bus import EventBus
    from praxis_fast.events.event import Event, EventFilter

# What an event costs beside its encoded data: the object, its id, time and number.
OVERHEAD = 512

EVICTED = "evicted"
FUTURE = "future"
OTHER_EPOCH = "epoch"
MALFORMED = "malformed"

# More digits than any number of ours; Python would take seconds to read thousands.
_MAX_DIGITS = 18

# Epochs that ended while the ring was here; more than one is rare.
_MAX_FORMER = 16


class ResetError(Exception):
    """There is no exact continuation: evicted, future, epoch or malformed (WS-9)."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Entry:
    """An event as it is kept."""

    event: Event
    """A copy whose `data` are the encoded bytes."""
    data: bytes | None
    """None when the data has no JSON form."""
    kept_at: float
    size: int

    def matches(self, wanted: EventFilter | None) -> bool:
        """Whether a filter lets the event through."""
        if wanted is None:
            return True
        event = self.event
        if wanted.reads_data and self.data is not None:
            # Users' filters may look at the data.
            event = replace(event, data=orjson.loads(self.data))
        return wanted.matches(event)


@dataclass(frozen=True, slots=True)
class Past:
    """The next events after a position; numbers left out are events that are lost."""

    entries: Sequence[Entry]
    upto: int
    """There is nothing else up to this number."""


class OlderEvents(Protocol):
    """Where events are that the ring let go."""

    @property
    def first(self) -> int:
        """The oldest of them."""

    async def read(self, position: int, max_events: int) -> Past:
        """The next ones after a position; ResetError when they were let go."""


class Journal:
    """A ring of events, bounded by number, age and bytes."""

    def __init__(
        self,
        bus: EventBus,
        limits: JournalLimits | None = None,
        *,
        encode: Callable[[Any], bytes],
        clock: Callable[[], float],
        past: OlderEvents | None = None,
        former: Mapping[str, int] | None = None,
    ) -> None:
        self._bus = bus
        self._past = past
        # As far as the ring knows; the bus may be ahead by what waits for delivery.
        self._epoch = bus.epoch
        self._former = dict(former or {})
        self._limits = limits or JournalLimits()
        self._encode = encode
        self._clock = clock
        self._entries: deque[Entry] = deque()
        self._size = 0
        self._last = bus.seq
        self._sink = bus.add_sink(self._on_event)

    def close(self) -> None:
        """Keep nothing new and forget what was kept."""
        self._sink.close()
        self._clear()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """The bytes charged for what is kept."""
        return self._size

    @property
    def epoch(self) -> str:
        """The present epoch."""
        return self._bus.epoch

    @property
    def former(self) -> dict[str, int]:
        """Epochs whose numbers go on in the present one, and the last of each."""
        return self._former.copy()

    @property
    def first(self) -> int:
        """The oldest event in the ring; one more than `last` when there is none."""
        return self._last - len(self._entries) + 1

    @property
    def oldest(self) -> int:
        """The oldest event there is, in the ring or before it."""
        return self.first if self._past is None else min(self.first, self._past.first)

    @property
    def newest(self) -> Entry | None:
        """The newest event in the ring."""
        return self._entries[-1] if self._entries else None

    @property
    def last(self) -> int:
        """The newest event that was published."""
        return self._last

    @property
    def token(self) -> str:
        """What a subscriber that has everything names when it comes back."""
        return f"{self.epoch}-{self._last}"

    def sealed(self, event: Event) -> Event:
        """The event with its data encoded already, if it is the newest one."""
        if self._entries:
            newest = self._entries[-1]
            if newest.event.seq == event.seq and newest.data is not None:
                return newest.event
        return event

    def position(self, token: str) -> int:
        """The number of the last event a subscriber has, from "epoch-seq".

        Raises ResetError when what follows it is not known exactly.
        """
        self._evict()
        epoch, dash, digits = token.rpartition("-")
        if not (dash and digits.isascii() and digits.isdigit()):
            raise ResetError(MALFORMED)
        is_present = epoch in (self.epoch, self._epoch)
        last = self._last if is_present else self._former.get(epoch)
        if last is None:
            raise ResetError(OTHER_EPOCH)
        seq = int(digits) if len(digits) <= _MAX_DIGITS else last + 1
        if seq > last:
            raise ResetError(FUTURE)
        if seq < self.oldest - 1:
            raise ResetError(EVICTED)
        return seq

    def forget_past(self) -> None:
        """From now on the ring is all there is."""
        self._past = None

    def is_past(self, position: int) -> bool:
        """Whether what follows a position is older than the ring: see `fetch`."""
        return self._past is not None and position + 1 < self.first

    async def fetch(self, position: int, max_events: int) -> Past:
        """What follows a position older than the ring; ResetError when it is gone."""
        if self._past is None:
            raise ResetError(EVICTED)
        return await self._past.read(position, max_events)

    def read(
        self, position: int, wanted: EventFilter | None = None, max_events: int = 1024
    ) -> tuple[list[Event], int]:
        """What the filter matches among the next events, and the position after them.

        Looks at `max_events` at most; the position is `last` when nothing is left.
        Raises ResetError when the next event is gone.
        """
        begin = position + 1 - self.first
        if begin < 0:
            raise ResetError(EVICTED)
        looked = list(islice(self._entries, begin, begin + max_events))
        found = [entry.event for entry in looked if entry.matches(wanted)]
        return found, position + len(looked)

    def since(self, token: str, wanted: EventFilter | None = None) -> list[Event]:
        """Everything after "epoch-seq" that a filter matches; ResetError if unknown."""
        return self.read(self.position(token), wanted, len(self._entries))[0]

    def _on_event(self, event: Event) -> None:
        if event.seq != self._last + 1:
            # Never with a bus that works; a hole would be a silent loss.
            self._clear()
        if event.epoch != self._epoch:
            self._on_epoch(event)
        self._last = event.seq
        entry = self._entry(event)
        self._entries.append(entry)
        self._size += entry.size
        self._evict()

    def _on_epoch(self, event: Event) -> None:
        self._former[self._epoch] = event.seq - 1
        if len(self._former) > _MAX_FORMER:
            del self._former[next(iter(self._former))]
        self._epoch = event.epoch

    def _entry(self, event: Event) -> Entry:
        now = self._clock()
        try:
            data = self._encode(event.data)
        except (TypeError, ValueError):
            return Entry(event, None, now, OVERHEAD)
        kept = copy(event)
        force_setattr(kept, "data", orjson.Fragment(data))
        return Entry(kept, data, now, len(data) + OVERHEAD)

    def _evict(self) -> None:
        limits, entries = self._limits, self._entries
        oldest = self._clock() - limits.max_age
        while entries and (
            len(entries) > limits.max_events
            or self._size > limits.max_bytes
            or entries[0].kept_at < oldest
        ):
            self._size -= entries.popleft().size

    def _clear(self) -> None:
        self._entries.clear()
        self._size = 0
