from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from praxis_fast.api.broadcast import NO_FD, SLICE, STRIDE, Broadcast, Channel
from praxis_fast.api.shapes import aliased_shape, plain_shape
from praxis_fast.events.bus import EventBus
from praxis_fast.events.event import EventFilter
from praxis_fast.limits import EventLimits


class FakeReceiver:
    """A socket that takes everything, or nothing while it is stuck."""

    def __init__(self, channel: Channel, policy: Any = "drop_oldest") -> None:
        self.channel = channel
        self.policy = policy
        self.fd = NO_FD
        self.writes: list[bytes] = []
        self.is_stuck = False
        self.expelled: list[int] = []

    def deliver(self, data: bytes) -> bool:
        self.writes.append(data)
        return not self.is_stuck

    def expel(self, last_seq: int) -> None:
        self.expelled.append(last_seq)

    @property
    def told(self) -> list[int | tuple[int, int, int]]:
        """Sequence numbers written, and gaps as (from, to, dropped)."""
        data = b"".join(self.writes)
        found: list[int | tuple[int, int, int]] = []
        while data:
            size, at = (data[1], 2) if data[1] < 126 else (data[2] * 256 + data[3], 4)
            message = json.loads(data[at : at + size])
            data = data[at + size :]
            if message["type"] == "gap":
                found.append(tuple(message["payload"].values()))
            else:
                found.append(message["seq"])
        return found


@pytest.fixture
async def bus() -> EventBus:
    return EventBus(epoch="e1")


@pytest.fixture
async def channel() -> Channel:
    return Channel(plain_shape)


@pytest.fixture
async def broadcast(bus: EventBus, channel: Channel) -> Broadcast:
    limits = EventLimits(max_queued_events=3)
    loop = asyncio.get_running_loop()
    channels = (channel, Channel(aliased_shape))
    # On this clock every slice is short, so only the numbers end one.
    return Broadcast(bus, channels, limits, loop, clock=float)


async def turn() -> None:
    """Let the loop do what is due, and what that makes due."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_one_write_per_socket_and_turn(
    bus: EventBus, broadcast: Broadcast, channel: Channel
) -> None:
    receivers = [FakeReceiver(channel) for _ in range(3)]
    for receiver in receivers:
        broadcast.add(receiver, EventFilter())
    bus.publish("a")
    bus.publish("b")
    assert not receivers[0].writes
    await turn()
    bus.publish("c")
    await turn()
    assert [len(receiver.writes) for receiver in receivers] == [2, 2, 2]
    assert [receiver.told for receiver in receivers] == [[1, 2, 3]] * 3
    # The same object for everybody: joined once, not once per socket.
    assert receivers[0].writes[0] is receivers[1].writes[0]


async def test_each_receiver_gets_what_its_filter_matches(
    bus: EventBus, broadcast: Broadcast, channel: Channel
) -> None:
    one, other = FakeReceiver(channel), FakeReceiver(channel)
    broadcast.add(one, EventFilter({"a"}))
    broadcast.add(other, EventFilter({"b", "c"}))
    for name in "abcab":
        bus.publish(name)
        await turn()
    assert (one.told, other.told) == ([1, 4], [2, 3, 5])


async def test_loop_gets_its_turn_between_slices(
    bus: EventBus, broadcast: Broadcast, channel: Channel
) -> None:
    receivers = [FakeReceiver(channel) for _ in range(SLICE + 10)]
    for receiver in receivers:
        broadcast.add(receiver, EventFilter())
    bus.publish("a")
    await asyncio.sleep(0)
    assert 0 < sum(len(receiver.writes) for receiver in receivers) <= SLICE
    while not all(receiver.writes for receiver in receivers):
        await turn()
    assert [receiver.told for receiver in receivers] == [[1]] * len(receivers)


async def test_ws_8_stuck_receiver_gets_its_gap_when_it_goes_on(
    bus: EventBus, broadcast: Broadcast, channel: Channel
) -> None:
    stuck, other = FakeReceiver(channel), FakeReceiver(channel)
    for receiver in (stuck, other):
        broadcast.add(receiver, EventFilter())
    stuck.is_stuck = True
    for _ in range(8):
        bus.publish("a")
        await turn()
    assert stuck.told == [1]
    assert other.told == list(range(1, 9))
    stuck.is_stuck = False
    broadcast.written(stuck, len(stuck.writes[0]))
    await turn()
    assert stuck.told == [1, (2, 5, 4, "e1"), 6, 7, 8]


async def test_ws_8_stuck_receiver_is_expelled_under_disconnect(
    bus: EventBus, broadcast: Broadcast, channel: Channel
) -> None:
    stuck = FakeReceiver(channel, "disconnect")
    broadcast.add(stuck, EventFilter())
    stuck.is_stuck = True
    for _ in range(8):
        bus.publish("a")
        await turn()
    assert stuck.expelled == [1]
    assert not len(channel.matcher)
    assert not broadcast.remove(stuck)
    broadcast.written(stuck, len(stuck.writes[0]))


async def test_change_writes_first_what_was_promised(
    bus: EventBus, broadcast: Broadcast, channel: Channel
) -> None:
    receiver = FakeReceiver(channel)
    broadcast.add(receiver, EventFilter({"a"}))
    bus.publish("a")
    broadcast.change(receiver, EventFilter({"b"}))
    assert receiver.told == [1]
    bus.publish("a")
    bus.publish("b")
    await turn()
    assert receiver.told == [1, 3]


async def test_change_serves_nobody_else(
    bus: EventBus, broadcast: Broadcast, channel: Channel
) -> None:
    receivers = [FakeReceiver(channel) for _ in range(200)]
    for receiver in receivers:
        broadcast.add(receiver, EventFilter())
    bus.publish("a")
    broadcast.change(receivers[7], EventFilter({"b"}))
    broadcast.flush(receivers[9])
    served = [at for at, receiver in enumerate(receivers) if receiver.writes]
    assert served == [7, 9]
    await turn()
    assert [receiver.told for receiver in receivers] == [[1]] * len(receivers)


async def test_flush_tells_one_receiver_its_gap_first(
    bus: EventBus, broadcast: Broadcast, channel: Channel
) -> None:
    receiver = FakeReceiver(channel)
    broadcast.add(receiver, EventFilter())
    for _ in range(5):
        bus.publish("a")
    broadcast.flush(receiver)
    assert receiver.told == [(1, 2, 2, "e1"), 3, 4, 5]
    assert broadcast.counters.dropped == 2
    await turn()
    assert len(receiver.writes) == 1


async def test_ws_8_those_who_are_expelled_are_told_in_slices(
    bus: EventBus, broadcast: Broadcast, channel: Channel
) -> None:
    receivers = [FakeReceiver(channel, "disconnect") for _ in range(3 * STRIDE)]
    for receiver in receivers:
        broadcast.add(receiver, EventFilter())
    for _ in range(4):
        bus.publish("a")
    for told in (STRIDE, 2 * STRIDE, 3 * STRIDE):
        assert not broadcast.change(receivers[-1], EventFilter())
        await asyncio.sleep(0)
        assert sum(len(receiver.expelled) for receiver in receivers) == told
    assert not len(channel.matcher)
    assert not len(channel.fanout)
    assert broadcast.counters.expelled == 3 * STRIDE


async def test_nothing_is_encoded_when_nobody_wants_it(
    bus: EventBus, broadcast: Broadcast, channel: Channel
) -> None:
    receiver = FakeReceiver(channel)
    broadcast.add(receiver, EventFilter({"a"}))
    bus.publish("b", {"x": object()})
    assert broadcast.remove(receiver)
    bus.publish("a")
    await turn()
    assert not receiver.writes


async def test_close_takes_no_more_events(
    bus: EventBus, broadcast: Broadcast, channel: Channel
) -> None:
    receiver = FakeReceiver(channel)
    broadcast.add(receiver, EventFilter())
    broadcast.close()
    bus.publish("a")
    await turn()
    assert not receiver.writes
