"""From the bus to the sockets: match once, frame once, write once per socket and turn.

Theory of operation
-------------------
A channel per message shape holds a Matcher and a Fanout. Publishing encodes an event
only when a group of that shape matches, and appends the frame to the groups. The flush
runs once per loop turn, joins what each socket has not got yet, and lets the loop go on
after `SLICE` sockets or `SLICE_SECONDS`, whichever comes first.

A receiver whose transport holds nothing back names its descriptor (`point`): the bytes
then go straight to the kernel. What the kernel leaves, and what follows a gap, goes
through `deliver` to the transport, which keeps it; the Fanout gives that receiver no
more until `written` says that it is through, so the two ways never mix up the order.
What piles up meanwhile is bounded by the subscriber's policy.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Protocol, cast

from praxis_fast.api.counters import Counters
from praxis_fast.api.shapes import event_frame, gap_frame, websocket_pack
from praxis_fast.core import Fanout, send_turn
from praxis_fast.events.access.view_matcher import ViewMatcher
from praxis_fast.events.stages import Stages

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from praxis_fast.api.shapes import Pack, Shape
    from praxis_fast.events.bus import EventBus
    from praxis_fast.events.event import Event, EventFilter
    from praxis_fast.events.mailbox import Policy
    from praxis_fast.limits import EventLimits

# How long the flush holds the loop: a write costs 4 to 5 µs, so most slices end by
# number. Large frames end them by time, which is looked at every `STRIDE` sockets.
SLICE = 512
SLICE_SECONDS = 0.003
STRIDE = 64

# No descriptor: everything goes through `deliver`.
NO_FD = -1


class Receiver(Protocol):
    """A socket as the broadcast sees it."""

    channel: Channel
    policy: Policy
    # Where bytes may be written without asking, NO_FD while that is nowhere.
    fd: int

    def __hash__(self) -> int: ...

    def deliver(self, data: bytes) -> bool:
        """Write frames; False when the kernel has not taken all of them yet."""

    def expel(self, last_seq: int) -> None:
        """The receiver was too slow; `last_seq` is the last event it was given."""


class Channel:
    """The receivers of one message shape."""

    __slots__ = ("_counted", "fanout", "matcher", "pack", "shape", "stages", "timed")

    def __init__(
        self,
        shape: Shape,
        pack: Pack = websocket_pack,
        stages: Stages | None = None,
    ) -> None:
        self.shape = shape
        self.pack = pack
        self.stages = stages or Stages()
        # Since when an event on its way to the receivers is timed.
        self.timed: float | None = None
        self.matcher = ViewMatcher()
        self.fanout = Fanout()
        self._counted = 0

    def count_queued(self) -> None:
        """Add what was queued since the last time."""
        queued = self.fanout.queued
        self.stages.queued += queued - self._counted
        self._counted = queued


class Broadcast:
    """Takes every event off the bus and hands it to the sockets that may see it."""

    def __init__(
        self,
        bus: EventBus,
        channels: tuple[Channel, ...],
        limits: EventLimits,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = time.perf_counter,
        sealed: Callable[[Event], Event] | None = None,
    ) -> None:
        # What is encoded in an event's place: the journal has its data encoded.
        self._sealed = sealed or _as_it_is
        self.counters = Counters(*{channel.stages: 0 for channel in channels})
        self._bus = bus
        self._watch = bus.stopwatch
        self._scheduled_at = 0.0
        self._clock = clock
        self._limits = limits
        self._loop = loop
        self.channels = self._channels = channels
        self._is_scheduled = False
        # Told so in slices: whoever is in here is no receiver any more.
        self._expelled: deque[tuple[Receiver, int]] = deque()
        self._sink = bus.add_sink(self._on_event)

    @property
    def pending_bytes(self) -> int:
        """Bytes queued and not yet handed out; frames many wait for count once."""
        return sum(channel.fanout.pending_bytes for channel in self._channels)

    def open(self, channel: Channel) -> None:
        """Take receivers of one more shape, whose stages are those of another."""
        self.channels = self._channels = (*self._channels, channel)

    def __contains__(self, receiver: Receiver) -> bool:
        return receiver in receiver.channel.fanout

    def close(self) -> None:
        """Take no more events off the bus."""
        self._sink.close()

    def add(self, receiver: Receiver, wanted: EventFilter) -> None:
        """Give a receiver the events that a filter matches, from now on."""
        channel = receiver.channel
        channel.fanout.subscribe(
            receiver,
            channel.matcher.add(receiver, wanted),
            max_bytes=self._limits.max_queued_bytes,
            max_events=self._limits.max_queued_events,
            policy=receiver.policy,
        )
        self.point(receiver)

    def change(self, receiver: Receiver, wanted: EventFilter) -> bool:
        """Replace a receiver's filter; what it was promised so far is written first.

        False when the receiver was expelled meanwhile.
        """
        self.flush(receiver)
        if not self.remove(receiver):
            return False
        self.add(receiver, wanted)
        return True

    def restrict(self, receiver: Receiver, wanted: EventFilter) -> None:
        """Replace a receiver's filter; what it was promised so far becomes a gap."""
        channel = receiver.channel
        lost = channel.fanout.drop(receiver)
        if not self.remove(receiver):
            return
        self.add(receiver, wanted)
        if lost is not None:
            channel.stages.dropped += lost[2]
            channel.stages.gaps += 1
            epoch = self._bus.epoch
            receiver.deliver(gap_frame(*lost, epoch=epoch, pack=channel.pack))

    def remove(self, receiver: Receiver) -> bool:
        """Give a receiver nothing more; False when it was gone already."""
        was_there = receiver in self
        receiver.channel.matcher.discard(receiver)
        receiver.channel.fanout.unsubscribe(receiver)
        return was_there

    def point(self, receiver: Receiver) -> None:
        """Take note of the receiver's descriptor, which is another one now."""
        receiver.channel.fanout.point(receiver, receiver.fd)

    def written(self, receiver: Receiver, size: int) -> None:
        """The kernel took what `deliver` had to leave."""
        if receiver not in self:
            return
        receiver.channel.fanout.written(receiver, size)
        self._schedule()

    def is_waiting(self, receiver: Receiver) -> bool:
        """Whether something comes for a receiver that `deliver` was not given yet."""
        return receiver.channel.fanout.is_waiting(receiver)

    def flush(self, receiver: Receiver) -> None:
        """Write one receiver what it was promised so far, if it can be written now.

        Nobody else is served: with all of them the loop would be held for as long as
        there are receivers, whenever one of them says something.
        """
        data = receiver.channel.fanout.flush_key(receiver)
        if data is not None:
            self._leave_rest(receiver, data)

    def _on_event(self, event: Event) -> None:
        is_timed = event.seq == self._watch.seq
        for channel in self._channels:
            groups = channel.matcher.match(event)
            if groups:
                if is_timed:
                    channel.stages.matched()
                frame = event_frame(
                    self._sealed(event),
                    channel.shape,
                    self._limits.max_event,
                    channel.pack,
                )
                channel.fanout.publish(frame, groups, event.seq)
                if is_timed:
                    channel.stages.enqueued()
                    channel.timed = self._watch.begun
                self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._scheduled_at = self._clock()
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._is_scheduled = False
        begun = self._scheduled_at
        until = self._clock() + SLICE_SECONDS
        for channel in self._channels:
            if channel.fanout.has_pending:
                self._flush_slice(channel, until)
                if channel.timed is not None:
                    self._tell_written(channel, channel.timed)
            gone = cast("list[tuple[Receiver, int]]", channel.fanout.expelled())
            self._expelled += gone
            channel.count_queued()
        self._tell_expelled()
        self.counters.turns.observe(self._clock() - begun)

    def _tell_written(self, channel: Channel, begun: float) -> None:
        if not channel.fanout.has_pending:
            # Behind whatever the receivers themselves have scheduled now.
            self._loop.call_soon(channel.stages.wrote, begun)
            channel.timed = None

    def _flush_slice(self, channel: Channel, until: float) -> None:
        for _ in range(0, SLICE, STRIDE):
            self._flush(channel.fanout)
            if not channel.fanout.has_pending:
                return
            if self._clock() >= until:
                break
        self._schedule()

    def _flush(self, fanout: Fanout) -> None:
        left = cast("list[tuple[Receiver, bytes, int]]", send_turn(fanout, STRIDE))
        for receiver, data, size in left:
            self._leave_rest(receiver, data[size:])

    def _tell_gaps(self, receiver: Receiver, data: bytes) -> bytes:
        channel = receiver.channel
        gaps = channel.fanout.gaps(receiver)
        channel.stages.dropped += sum(dropped for _, _, dropped in gaps)
        channel.stages.gaps += len(gaps)
        epoch, pack = self._bus.epoch, channel.pack
        frames = [gap_frame(*gap, epoch=epoch, pack=pack) for gap in gaps]
        return b"".join(frames) + data

    def _leave_rest(self, receiver: Receiver, data: bytes) -> None:
        """Hand the transport what was not written, and gaps first."""
        fanout = receiver.channel.fanout
        if fanout.has_gaps:
            data = self._tell_gaps(receiver, data)
        if receiver.deliver(data):
            fanout.written(receiver, len(data))

    def _tell_expelled(self) -> None:
        for _ in range(min(STRIDE, len(self._expelled))):
            receiver, last_seq = self._expelled.popleft()
            receiver.channel.matcher.discard(receiver)
            receiver.channel.stages.expelled += 1
            receiver.expel(last_seq)
        if self._expelled:
            self._schedule()


def _as_it_is(event: Event) -> Event:
    return event
