"""Frames written straight to the kernel, over real sockets: all there, in order."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from praxis_fast.api.access.access import Access
from praxis_fast.api.broadcast import NO_FD, STRIDE, Broadcast, Channel
from praxis_fast.api.event_socket import EventSocket, descriptor
from praxis_fast.api.gateway import EventGateway
from praxis_fast.api.shapes import plain_shape
from praxis_fast.events.bus import EventBus
from praxis_fast.events.event import EventFilter
from praxis_fast.limits import EventLimits
from tests.api.test_broadcast import FakeReceiver, turn
from tests.api.test_gateway import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# Twice in a message, and still in a frame with a length of two bytes.
TEXT = "x" * 15_000


class Peer:
    """A client that reads when it is told to."""

    def __init__(self, raw: socket.socket) -> None:
        self.raw = raw
        self.data = b""

    async def read_messages(self, count: int) -> list[dict[str, Any]]:
        loop = asyncio.get_running_loop()
        found: list[dict[str, Any]] = []
        async with asyncio.timeout(10):
            while len(found) < count:
                message = self._take()
                if message is None:
                    self.data += await loop.sock_recv(self.raw, 1 << 20)
                else:
                    found.append(json.loads(message))
        return found

    def _take(self) -> bytes | None:
        data = self.data
        if len(data) < 4:
            return None
        size, at = (data[1], 2) if data[1] < 126 else (data[2] * 256 + data[3], 4)
        if len(data) < at + size:
            return None
        self.data = data[at + size :]
        return data[at : at + size]


class Ends:
    """A gateway and the two ends of one of its clients."""

    def __init__(self, gateway: EventGateway, ours: EventSocket, peer: Peer) -> None:
        self.gateway = gateway
        self.bus = gateway.bus
        self.ours = ours
        self.peer = peer


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    loop = asyncio.get_running_loop()
    gateway = EventGateway(EventBus(epoch="e1"), Access(), peers=list)
    near, far = socket.socketpair()
    far.setblocking(False)
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
    client = gateway.enter("/events", transport, set())
    transport.set_protocol(client)
    yield Ends(gateway, client, Peer(far))
    far.close()
    await gateway.close()


async def test_bytes_go_round_the_transport_while_nothing_waits(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ends.ours.fd != NO_FD
    monkeypatch.setattr(EventSocket, "deliver", None)
    for number in range(3):
        ends.bus.publish("a", {"number": number})
        await turn()
    messages = await ends.peer.read_messages(3)
    assert [message["payload"]["number"] for message in messages] == [0, 1, 2]


async def test_ws_8_rest_waits_in_the_transport_when_the_kernel_is_full(
    ends: Ends,
) -> None:
    published = 0
    while not ends.ours.is_paused:
        ends.bus.publish("a", {"number": published, "text": TEXT})
        published += 1
        await turn()
    # A part of a frame waits; nothing may pass it.
    assert ends.ours.fd == NO_FD
    ends.bus.publish("a", {"number": published, "text": TEXT})
    await turn()
    messages = await ends.peer.read_messages(published + 1)
    assert [message["payload"]["number"] for message in messages] == list(
        range(published + 1)
    )
    await eventually(lambda: ends.ours.fd != NO_FD)
    ends.bus.publish("a", {"number": -1})
    await turn()
    assert (await ends.peer.read_messages(1))[0]["payload"]["number"] == -1


async def test_order_is_kept_between_the_two_ways(ends: Ends) -> None:
    reading = asyncio.create_task(ends.peer.read_messages(600))
    for number in range(300):
        ends.bus.publish("a", {"number": number, "text": TEXT * (number % 3)})
        await turn()
        if not ends.ours.is_paused:
            ends.gateway.broadcast.flush(ends.ours)
        # An answer to this client alone takes the transport's way.
        ends.ours.send(b"\x81\x02{}" if number % 2 else b"\x81\x02[]")
    messages = await reading
    numbers = [m["payload"]["number"] for m in messages if m and "payload" in m]
    answers = [m for m in messages if not m]
    assert numbers == list(range(300))
    assert answers == [{} if number % 2 else [] for number in range(300)]


async def test_descriptor_is_given_up_when_the_connection_ends(ends: Ends) -> None:
    ends.peer.raw.close()
    ends.bus.publish("a")
    await eventually(lambda: ends.gateway.clients == 0)
    assert ends.ours.fd == NO_FD
    ends.bus.publish("a")
    await turn()


async def test_descriptor_is_given_up_when_we_close(ends: Ends) -> None:
    ends.ours.close(1000, "")
    assert ends.ours.fd == NO_FD
    ends.ours.pause_writing()
    ends.ours.resume_writing()
    assert ends.ours.fd == NO_FD


async def test_fanout_knows_the_descriptor_as_long_as_it_may_be_written_to(
    ends: Ends,
) -> None:
    fanout = ends.ours.channel.fanout
    assert fanout.descriptor(ends.ours) == ends.ours.fd != NO_FD
    ends.ours.pause_writing()
    assert fanout.descriptor(ends.ours) == NO_FD
    ends.ours.resume_writing()
    assert fanout.descriptor(ends.ours) == ends.ours.fd != NO_FD
    ends.gateway.broadcast.change(ends.ours, EventFilter())
    assert fanout.descriptor(ends.ours) == ends.ours.fd
    ends.ours.connection_lost(None)
    assert fanout.descriptor(ends.ours) == NO_FD


class FakeTransport:
    def __init__(self, **known: Any) -> None:
        self.known = known

    def get_extra_info(self, name: str) -> Any:
        return self.known.get(name)


def test_encrypted_transport_is_never_passed() -> None:
    near, far = socket.socketpair()
    plain: Any = FakeTransport(socket=near)
    encrypted: Any = FakeTransport(socket=near, sslcontext=object())
    unknown: Any = FakeTransport()
    assert descriptor(plain) == near.fileno()
    assert descriptor(encrypted) == descriptor(unknown) == NO_FD
    near.close()
    far.close()


async def test_slice_ends_by_time_too() -> None:
    bus, channel = EventBus(), Channel(plain_shape)
    ticks = iter(range(1000))
    loop = asyncio.get_running_loop()
    broadcast = Broadcast(
        bus, (channel,), EventLimits(), loop, clock=lambda: float(next(ticks))
    )
    receivers = [FakeReceiver(channel) for _ in range(3 * STRIDE)]
    for receiver in receivers:
        broadcast.add(receiver, EventFilter())
    bus.publish("a")
    for served in (STRIDE, 2 * STRIDE, 3 * STRIDE):
        await asyncio.sleep(0)
        assert sum(len(receiver.writes) for receiver in receivers) == served
