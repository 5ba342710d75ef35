"""Frames to many subscribers at their own pace: the plain twin of the fan-out.

Every subscriber has a queue of frames; a frame that had to be dropped leaves a gap in
its place, and neighbouring gaps become one:

    queue   gap(3..5, 3 dropped) | frame 6 | gap(9..9, 1 dropped) | frame 11
            └ the oldest                                            the newest ┘

`flush` hands the frames of a queue out as one piece of bytes and sets its gaps aside
for `gaps`. A subscriber with bytes on the way to its socket is left alone until
`written` has seen the last of them.
"""

from __future__ import annotations

from collections import deque
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

from praxis_fast.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

POLICIES = ("disconnect", "drop_oldest", "coalesce")

# Gaps nobody fetches may not pile up: beyond this number the last ones become one.
MAX_GAPS = 1024


class Gap(NamedTuple):
    """Frames a subscriber will not get: the first, the last, and how many."""

    from_seq: int
    to_seq: int
    dropped: int


class Frame:
    """One published frame, shared by all queues it waits in."""

    __slots__ = ("data", "seq", "topic")

    def __init__(self, data: bytes, seq: int, topic: str | None) -> None:
        self.data = data
        self.seq = seq
        self.topic = topic


def as_gap(item: Frame | Gap) -> Gap:
    """The gap a dropped frame leaves."""
    return item if isinstance(item, Gap) else Gap(item.seq, item.seq, 1)


def merge_gaps(first: Frame | Gap, second: Frame | Gap) -> Gap:
    """One gap that covers two neighbours."""
    first, second = as_gap(first), as_gap(second)
    return Gap(first.from_seq, second.to_seq, first.dropped + second.dropped)


class Subscriber:
    """One subscriber's queue, bounds and place."""

    __slots__ = (
        "events",
        "fd",
        "gaps",
        "group",
        "is_coalescing",
        "key",
        "last_seq",
        "max_bytes",
        "max_events",
        "policy",
        "queue",
        "size",
        "unwritten",
    )

    def __init__(self, key: Hashable, last_seq: int) -> None:
        self.key = key
        self.group: Hashable = None
        self.max_bytes = self.max_events = 0
        self.policy = ""
        self.queue: deque[Frame | Gap] = deque()
        self.size = self.events = 0
        self.gaps: list[Gap] = []
        self.unwritten = 0
        self.fd = -1
        self.last_seq = last_seq
        self.is_coalescing = False

    @property
    def frames(self) -> tuple[Frame, ...]:
        """What waits, oldest first."""
        return tuple(item for item in self.queue if isinstance(item, Frame))

    @property
    def is_over(self) -> bool:
        """Whether more waits than may."""
        return self.size > self.max_bytes or self.events > self.max_events

    def append(self, item: Frame | Gap) -> None:
        """Put a frame or a gap at the new end."""
        if isinstance(item, Frame):
            self.size += len(item.data)
            self.events += 1
        elif self.queue and isinstance(self.queue[-1], Gap):
            item = merge_gaps(self.queue.pop(), item)
        self.queue.append(item)

    def take_oldest(self) -> Frame | Gap:
        """What is at the old end."""
        item = self.queue.popleft()
        if isinstance(item, Frame):
            self.size -= len(item.data)
            self.events -= 1
        return item

    def keep_newest_per_topic(self) -> None:
        """Drop every frame that a newer one of the same topic makes useless."""
        newest = {frame.topic: frame for frame in self.frames}
        newest.pop(None, None)
        for _ in range(len(self.queue)):
            item = self.take_oldest()
            if isinstance(item, Frame) and newest.get(item.topic, item) is not item:
                item = as_gap(item)
            self.append(item)

    def drop_oldest(self) -> None:
        """Drop the oldest frames until the rest is within the bounds."""
        dropped: list[Gap] = []
        while self.is_over or (dropped and self.starts_with_gap):
            dropped.append(as_gap(self.take_oldest()))
        if dropped:
            self.queue.appendleft(reduce(merge_gaps, dropped))

    @property
    def starts_with_gap(self) -> bool:
        """Whether the oldest thing in the queue is a gap."""
        return bool(self.queue) and isinstance(self.queue[0], Gap)

    def keep_gaps(self) -> None:
        """Set the gaps of the queue aside; the frames stay."""
        for item in self.queue:
            if isinstance(item, Gap):
                self._keep_gap(item)
        self.queue = deque(self.frames)

    def _keep_gap(self, gap: Gap) -> None:
        if len(self.gaps) < MAX_GAPS:
            self.gaps.append(gap)
        else:
            self.gaps[-1] = merge_gaps(self.gaps[-1], gap)

    def take_frames(self) -> tuple[Frame, ...]:
        """Everything that waits; its gaps are set aside."""
        self.keep_gaps()
        frames = self.frames
        self.queue.clear()
        self.size = self.events = 0
        self.is_coalescing = False
        return frames


class Fanout:
    """Hands frames published to groups out to their subscribers, never waiting for one.

    What waits for a subscriber (bytes on the way to its socket not counted) is bounded
    in bytes and in events. Over the bound the subscriber's policy decides:
    "disconnect" ends its subscription; "drop_oldest" drops from the old end;
    "coalesce" keeps, until the subscriber has caught up, the newest frame of each
    topic (frames without a topic are all kept) and drops from the old end only when
    that does not help. `pending_bytes` counts each waiting frame once.
    """

    __slots__ = (
        "_expelled",
        "_groups",
        "_joined",
        "_last_seq",
        "_queued",
        "_ready",
        "_subs",
    )

    def __init__(self) -> None:
        self._subs: dict[Hashable, Subscriber] = {}
        self._groups: dict[Hashable, dict[Hashable, Subscriber]] = {}
        self._ready: dict[Hashable, Subscriber] = {}
        self._joined: dict[tuple[Frame, ...], bytes] = {}
        self._expelled: list[tuple[Hashable, int]] = []
        self._last_seq = 0
        self._queued = 0

    def __len__(self) -> int:
        return len(self._subs)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._subs

    @property
    def has_pending(self) -> bool:
        """Whether `flush` may have something to hand out."""
        return bool(self._ready)

    @property
    def has_gaps(self) -> bool:
        """Whether `gaps` would tell any subscriber anything that `flush` passed."""
        return any(sub.gaps for sub in self._subs.values())

    @property
    def pending_bytes(self) -> int:
        """Bytes of all frames somebody still waits for."""
        waiting = {frame for sub in self._subs.values() for frame in sub.frames}
        return sum(len(frame.data) for frame in waiting)

    @property
    def queued(self) -> int:
        """How many frames there were, each counted for each of its subscribers."""
        return self._queued

    def subscribe(
        self,
        key: Hashable,
        group: Hashable,
        *,
        max_bytes: int = 1048576,
        max_events: int = 1024,
        policy: str = "drop_oldest",
    ) -> None:
        """Hand frames of the group to `key` from now on.

        A key that is subscribed already moves to the new group, bounds and policy;
        what waits for it still comes, and comes first.
        """
        check_bound("max_bytes", max_bytes)
        check_bound("max_events", max_events)
        if policy not in POLICIES:
            known = ", ".join(POLICIES)
            raise UsageError(f"policy {policy!r} is not one of {known}")
        hash(group)
        sub = self._subs.get(key) or Subscriber(key, self._last_seq)
        self._leave(sub)
        sub.group = group
        sub.max_bytes, sub.max_events, sub.policy = max_bytes, max_events, policy
        sub.is_coalescing = False
        self._subs[key] = sub
        self._groups.setdefault(group, {})[key] = sub

    def unsubscribe(self, key: Hashable) -> None:
        """Forget the subscriber and all that waits; an unknown key is ignored."""
        sub = self._subs.pop(key, None)
        if sub is not None:
            self._ready.pop(key, None)
            self._leave(sub)

    def point(self, key: Hashable, fd: int) -> None:
        """Say where `send_turn` may write the subscriber's bytes, -1 for nowhere.

        The descriptor is the caller's: it must be -1 again, or the key unsubscribed,
        before it is closed. A key that is not subscribed is ignored.
        """
        sub = self._subs.get(key)
        if sub is not None:
            sub.fd = max(-1, fd)

    def descriptor(self, key: Hashable) -> int:
        """Where the subscriber's next bytes may be written; -1 before gaps, too."""
        sub = self._subs.get(key)
        return -1 if sub is None or sub.gaps else sub.fd

    def _leave(self, sub: Subscriber) -> None:
        members = self._groups.get(sub.group, {})
        members.pop(sub.key, None)
        if not members:
            self._groups.pop(sub.group, None)

    def publish(
        self,
        frame: bytes,
        groups: Iterable[Hashable],
        seq: int,
        *,
        topic: str | None = None,
    ) -> None:
        """Queue the frame for every subscriber of the groups; `seq` never falls.

        Each group is named once. Cheapest is the same tuple of groups again.
        """
        if type(frame) is not bytes:
            raise UsageError(f"frame must be bytes, not {type(frame).__name__}")
        if not frame:
            raise UsageError("frame is empty")
        if seq < self._last_seq:
            raise UsageError(f"sequence {seq} after {self._last_seq}")
        if topic is not None and not isinstance(topic, str):
            raise UsageError(f"topic must be a str, not {type(topic).__name__}")
        self._last_seq = seq
        self._joined.clear()
        entry = Frame(frame, seq, topic)
        for group in groups:
            subs = list(self._groups.get(group, {}).values())
            self._queued += len(subs)
            for sub in subs:
                self._append(sub, entry)

    def _append(self, sub: Subscriber, frame: Frame) -> None:
        sub.append(frame)
        if not sub.unwritten:
            self._ready[sub.key] = sub
        if sub.is_coalescing:
            sub.keep_newest_per_topic()
        if sub.is_over:
            self._relieve(sub)

    def _relieve(self, sub: Subscriber) -> None:
        if sub.policy == "disconnect":
            self._expelled.append((sub.key, sub.last_seq))
            self.unsubscribe(sub.key)
            return
        if sub.policy == "coalesce":
            sub.is_coalescing = True
            sub.keep_newest_per_topic()
        sub.drop_oldest()

    def flush(self, budget: int | None = None) -> list[tuple[Hashable, bytes]]:
        """What each subscriber gets in this turn, for at most `budget` subscribers.

        Subscribers that are level get the same object. The bytes are empty for a
        subscriber that has nothing but gaps to be told. Call again while
        `has_pending`; a subscriber served now comes last the next time.
        """
        if budget is not None and budget < 1:
            raise UsageError(f"budget of {budget}, at least 1")
        turn = list(self._ready.values())[:budget]
        handed = [(sub.key, self._serve(sub)) for sub in turn]
        if not self._ready:
            self._joined.clear()
        return handed

    def is_waiting(self, key: Hashable) -> bool:
        """Whether the subscriber has frames or gaps coming that were not handed out."""
        sub = self._subs.get(key)
        return sub is not None and bool(sub.queue)

    def flush_key(self, key: Hashable) -> bytes | None:
        """What one subscriber gets, out of its turn; None when it gets nothing now.

        Nobody else is looked at. Its gaps and `written` are as after `flush`.
        """
        sub = self._ready.get(key)
        data = None if sub is None else self._serve(sub)
        if not self._ready:
            self._joined.clear()
        return data

    def drop(self, key: Hashable) -> tuple[int, int, int] | None:
        """Take away what waits for one subscriber and was not handed out.

        It is one gap (first dropped, last dropped, how many), gaps that `gaps` would
        have told included; None when there is nothing.
        """
        sub = self._subs.get(key)
        if sub is None:
            return None
        lost = [*sub.gaps, *map(as_gap, sub.queue)]
        sub.take_frames()
        sub.gaps = []
        self._ready.pop(key, None)
        if not self._ready:
            self._joined.clear()
        if not lost:
            return None
        gap = reduce(merge_gaps, lost)
        return (gap.from_seq, gap.to_seq, gap.dropped)

    def _serve(self, sub: Subscriber) -> bytes:
        del self._ready[sub.key]
        frames = sub.take_frames()
        if not frames:
            return b""
        sub.last_seq = frames[-1].seq
        data = self._joined.get(frames)
        if data is None:
            data = b"".join([frame.data for frame in frames])
            self._joined[frames] = data
        sub.unwritten = len(data)
        return data

    def written(self, key: Hashable, n: int) -> None:
        """The socket took `n` more bytes; a key that is not subscribed is ignored.

        Frames of the caller's own, gaps for instance, may be counted too: more than
        was handed out is all of it.
        """
        sub = self._subs.get(key)
        if sub is None:
            return
        if n < 0:
            raise UsageError(f"{n} bytes written, at least 0")
        sub.unwritten = max(0, sub.unwritten - n)
        if sub.queue and not sub.unwritten:
            self._ready[key] = sub

    def gaps(self, key: Hashable) -> list[tuple[int, int, int]]:
        """Take the subscriber's gaps: (first dropped, last dropped, how many).

        They belong before the bytes flushed for it in the same turn.
        """
        sub = self._subs.get(key)
        if sub is None:
            return []
        sub.keep_gaps()
        taken = [(gap.from_seq, gap.to_seq, gap.dropped) for gap in sub.gaps]
        sub.gaps = []
        if not sub.queue:
            self._ready.pop(key, None)
            sub.is_coalescing = False
        return taken

    def expelled(self) -> list[tuple[Hashable, int]]:
        """Take the keys "disconnect" ended, each with the last event handed to it.

        For one that was handed nothing it is the last event before it subscribed.
        """
        taken, self._expelled = self._expelled, []
        return taken


def check_bound(name: str, value: int) -> None:
    """Refuse a bound nothing could fit in."""
    if value < 1:
        raise UsageError(f"{name} of {value}, at least 1")
