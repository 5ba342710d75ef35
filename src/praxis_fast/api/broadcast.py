"""From the bus to the sockets: match once, frame once, write once per socket and turn.

Theory of operation
-------------------
A channel per message shape holds a Matcher and a Fanout. Publishing encodes an event
only when a group of that shape matches, and appends the frame to the groups. The flush
runs once per loop turn, joins what each socket has not got yet, and serves at most
`SLICE` sockets before it lets the loop go on.

A socket whose kernel buffer is full keeps what it was handed; the Fanout gives it no
more until `written` says that it is through. What piles up there meanwhile is bounded
by the subscriber's policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from praxis_fast.api.shapes import event_frame, gap_frame
from praxis_fast.core import Fanout, Matcher

if TYPE_CHECKING:
    import asyncio

    from praxis_fast.api.shapes import Shape
    from praxis_fast.events.bus import EventBus
    from praxis_fast.events.event import Event, EventFilter
    from praxis_fast.events.mailbox import Policy
    from praxis_fast.limits import EventLimits

# A write costs 4 to 5 µs, so a slice holds the loop for about 2 ms.
SLICE = 512


class Receiver(Protocol):
    """A socket as the broadcast sees it."""

    channel: Channel
    policy: Policy

    def __hash__(self) -> int: ...

    def deliver(self, data: bytes) -> bool:
        """Write frames; False when the kernel has not taken all of them yet."""

    def expel(self, last_seq: int) -> None:
        """The receiver was too slow; `last_seq` is the last event it was given."""


class Channel:
    """The receivers of one message shape."""

    __slots__ = ("fanout", "matcher", "shape")

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.matcher = Matcher()
        self.fanout = Fanout()


class Broadcast:
    """Takes every event off the bus and hands it to the sockets that may see it."""

    def __init__(
        self,
        bus: EventBus,
        channels: tuple[Channel, ...],
        limits: EventLimits,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._limits = limits
        self._loop = loop
        self._channels = channels
        self._is_scheduled = False
        self._receivers: set[Receiver] = set()
        self._sink = bus.add_sink(self._on_event)

    def close(self) -> None:
        """Take no more events off the bus."""
        self._sink.close()

    def add(self, receiver: Receiver, wanted: EventFilter) -> None:
        """Give a receiver the events that a filter matches, from now on."""
        channel = receiver.channel
        self._receivers.add(receiver)
        channel.fanout.subscribe(
            receiver,
            channel.matcher.add(receiver, wanted),
            max_bytes=self._limits.max_queued_bytes,
            max_events=self._limits.max_queued_events,
            policy=receiver.policy,
        )

    def change(self, receiver: Receiver, wanted: EventFilter) -> bool:
        """Replace a receiver's filter; what it was promised so far is written first.

        False when the receiver was expelled meanwhile.
        """
        self.flush_all()
        if not self.remove(receiver):
            return False
        self.add(receiver, wanted)
        return True

    def remove(self, receiver: Receiver) -> bool:
        """Give a receiver nothing more; False when it was gone already."""
        if receiver not in self._receivers:
            return False
        self._receivers.discard(receiver)
        receiver.channel.matcher.discard(receiver)
        receiver.channel.fanout.unsubscribe(receiver)
        return True

    def written(self, receiver: Receiver, size: int) -> None:
        """The kernel took what `deliver` had to leave."""
        if receiver not in self._receivers:
            return
        receiver.channel.fanout.written(receiver, size)
        self._schedule()

    def flush_all(self) -> None:
        """Write everything that can be written now."""
        for channel in self._channels:
            self._flush(channel, None)

    def _on_event(self, event: Event) -> None:
        for channel in self._channels:
            groups = channel.matcher.match(event)
            if groups:
                frame = event_frame(event, channel.shape, self._limits.max_event)
                channel.fanout.publish(frame, groups, event.seq)
                self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._is_scheduled = False
        for channel in self._channels:
            self._flush(channel, SLICE)
            if channel.fanout.has_pending:
                self._schedule()

    def _flush(self, channel: Channel, budget: int | None) -> None:
        fanout = channel.fanout
        turn = cast("list[tuple[Receiver, bytes]]", fanout.flush(budget))
        for receiver, data in turn:
            gaps = () if receiver.policy == "disconnect" else fanout.gaps(receiver)
            for gap in gaps:
                data = gap_frame(*gap) + data
            if receiver.deliver(data):
                fanout.written(receiver, len(data))
        expelled = cast("list[tuple[Receiver, int]]", fanout.expelled())
        for receiver, last_seq in expelled:
            self._receivers.discard(receiver)
            channel.matcher.discard(receiver)
            receiver.expel(last_seq)
