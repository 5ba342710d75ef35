"""One client's socket on a fake transport and the gateway's fake clock."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

import pytest
from websockets.frames import Close, Frame, Opcode

from praxis_fast.api.access.access import Access
from praxis_fast.api.broadcast import STRIDE
from praxis_fast.api.event_socket import CLOSE_TIMEOUT, MESSAGES_PER_TURN, EventSocket
from praxis_fast.api.gateway import EventGateway
from praxis_fast.events.bus import EventBus
from praxis_fast.limits import Limits, ProcessLimits
from tests.api.test_broadcast import turn


class FakeTransport:
    """Takes what is written; full from `room` bytes on."""

    def __init__(self) -> None:
        self.sent = b""
        self.waiting = b""
        self.is_full = False
        self.is_reading = True
        self.is_aborted = False
        self.closing = False
        self.protocol: EventSocket | None = None

    def write(self, data: bytes) -> None:
        if not self.is_full:
            self.sent += data
            return
        self.waiting += data
        assert self.protocol is not None
        if not self.protocol.is_paused:
            self.protocol.pause_writing()

    def drain(self) -> None:
        self.is_full = False
        self.sent += self.waiting
        self.waiting = b""
        assert self.protocol is not None
        self.protocol.resume_writing()

    def get_write_buffer_size(self) -> int:
        return len(self.waiting)

    def set_write_buffer_limits(self, high: int) -> None:
        assert high == 0

    def set_protocol(self, protocol: EventSocket) -> None:
        self.protocol = protocol

    def get_extra_info(self, name: str) -> None:
        return None

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.is_aborted = self.closing = True

    def frames(self) -> list[Any]:
        """What was sent so far: messages, pings as "ping", close frames."""
        data, self.sent = self.sent, b""
        found: list[Any] = []
        while data:
            opcode = data[0] & 15
            size, at = (data[1], 2) if data[1] < 126 else (data[2] * 256 + data[3], 4)
            body, data = data[at : at + size], data[at + size :]
            if opcode == Opcode.TEXT:
                found.append(json.loads(body))
            else:
                found.append("ping" if opcode == Opcode.PING else Close.parse(body))
        return found


class FakeClock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def bus() -> EventBus:
    return EventBus(epoch="e1")


@pytest.fixture
async def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def gateway(
    bus: EventBus, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> Any:
    gateway = EventGateway(bus, Access(), peers=list)
    monkeypatch.setattr(gateway, "now", clock)
    yield gateway
    for client in list(gateway._sockets):
        client.connection_lost(None)
    await gateway.close()


def enter(
    gateway: EventGateway, path: str = "/events", policy: Any = "drop_oldest"
) -> tuple[EventSocket, FakeTransport]:
    transport = FakeTransport()
    query = f"policy={policy}"
    socket = gateway.enter(path, transport, set(), query)  # type: ignore[arg-type]
    return socket, transport


def text(message: Any) -> bytes:
    return Frame(Opcode.TEXT, json.dumps(message).encode()).serialize(mask=True)


PING = text({"type": "PING"})


async def test_messages_of_one_client_are_answered_in_turns(
    gateway: EventGateway,
) -> None:
    socket, transport = enter(gateway)
    socket.data_received(PING * (MESSAGES_PER_TURN + 5))
    assert len(transport.frames()) == MESSAGES_PER_TURN
    await turn()
    assert len(transport.frames()) == 5


@pytest.mark.parametrize(
    "request_",
    [("SUBSCRIBE_EVENTS", {"event_types": ["a"]}), ("RESUME", {"since": "e1-1"})],
)
async def test_what_one_client_asks_writes_to_nobody_else(
    gateway: EventGateway, bus: EventBus, request_: tuple[str, Any]
) -> None:
    bus.declare("a")
    clients = [enter(gateway) for _ in range(100)]
    bus.publish("a")
    kind, payload = request_
    clients[3][0].data_received(text({"type": kind, "payload": payload}))
    told = [[frame["type"] for frame in transport.frames()] for _, transport in clients]
    assert told[3][0] == "a"
    assert len(told[3]) == 2
    assert not any(told[:3] + told[4:])
    await turn()
    told = [[frame["type"] for frame in transport.frames()] for _, transport in clients]
    assert told == [["a"]] * 3 + [[]] + [["a"]] * 96


async def test_prc_1_goodbyes_are_said_in_slices_and_name_the_last_event_sent(
    bus: EventBus,
) -> None:
    gateway = EventGateway(bus, Access(), peers=list)
    clients = [enter(gateway) for _ in range(2 * STRIDE)]
    bus.publish("a")
    closing = asyncio.create_task(gateway.close(timeout=5.0))
    await asyncio.sleep(0)
    assert sum(not socket._inbound.is_open for socket, _ in clients) == STRIDE - 1
    bus.publish("b")
    await turn()
    for number, (socket, transport) in enumerate(clients):
        *events, goodbye, close = transport.frames()
        assert goodbye["payload"]["since"] == f"e1-{len(events)}"
        assert [event["seq"] for event in events] == [1, 2][: len(events)]
        assert len(events) == 1 if number < STRIDE - 1 else 2
        assert close.code == 1001
        socket.connection_lost(None)
    await closing


async def test_client_that_does_not_read_is_not_read_either(
    gateway: EventGateway,
) -> None:
    socket, transport = enter(gateway)
    transport.is_full = True
    socket.data_received(PING * 50)
    assert not transport.is_reading
    waiting = transport.get_write_buffer_size()
    await turn()
    assert transport.get_write_buffer_size() == waiting
    transport.drain()
    assert transport.is_reading
    assert len(transport.frames()) == 50


async def test_heartbeat_is_sent_and_silence_ends_the_client(
    gateway: EventGateway, clock: FakeClock
) -> None:
    socket, transport = enter(gateway)
    interval = gateway.limits.websocket.ping_interval
    socket.on_tick(clock.now)
    assert transport.frames() == []
    for _ in range(2):
        clock.now += interval
        socket.on_tick(clock.now)
    assert transport.frames() == ["ping", "ping"]
    socket.data_received(Frame(Opcode.PONG, b"").serialize(mask=True))
    for _ in range(3):
        clock.now += interval
        socket.on_tick(clock.now)
    assert transport.frames() == [
        *("ping", "ping"),
        Close(1011, "no answer to heartbeats"),
    ]
    assert gateway.clients == 0


async def test_ws_8_stalled_client_is_closed_after_ten_seconds_under_disconnect(
    gateway: EventGateway, bus: EventBus, clock: FakeClock
) -> None:
    socket, transport = enter(gateway, policy="disconnect")
    transport.is_full = True
    bus.publish("a", {"text": "x" * 100})
    await turn()
    clock.now += 9.0
    socket.on_tick(clock.now)
    assert gateway.clients == 1
    # One byte got through: the ten seconds begin anew.
    transport.waiting = transport.waiting[1:]
    socket.on_tick(clock.now)
    clock.now += 9.0
    socket.on_tick(clock.now)
    assert gateway.clients == 1
    clock.now += 1.0
    socket.on_tick(clock.now)
    assert gateway.clients == 0
    assert b"nothing read for 10 s" in transport.waiting


async def test_ws_8_stalled_client_is_kept_longer_under_drop_oldest(
    gateway: EventGateway, bus: EventBus, clock: FakeClock
) -> None:
    socket, transport = enter(gateway)
    transport.is_full = True
    bus.publish("a")
    await turn()
    clock.now += 59.0
    socket.on_tick(clock.now)
    assert gateway.clients == 1
    clock.now += 1.0
    socket.on_tick(clock.now)
    assert gateway.clients == 0
    assert b"nothing read for 60 s" in transport.waiting


async def test_prc_2_silence_counts_anew_after_a_freeze(
    gateway: EventGateway, bus: EventBus, clock: FakeClock
) -> None:
    quiet, quiet_transport = enter(gateway)
    slow, transport = enter(gateway, policy="disconnect")
    leaving, left = enter(gateway)
    leaving.close(1001, "going away")
    transport.is_full = True
    bus.publish("a", {"text": "x" * 100})
    await turn()
    clock.now += 3600
    gateway._tick_due -= 3600
    gateway._timer.cancel()
    gateway._on_tick()
    assert gateway.clients == 2
    assert not left.is_aborted
    assert "ping" not in quiet_transport.frames()
    clock.now += 10.0
    for client in (quiet, slow, leaving):
        client.on_tick(clock.now)
    assert gateway.clients == 1
    assert left.is_aborted


async def test_prc_4_newest_slow_clients_go_first_when_memory_is_short(
    bus: EventBus,
) -> None:
    limits = Limits(process=ProcessLimits(buffer_pool=20_000))
    gateway = EventGateway(bus, Access(), limits=limits)
    clients = [enter(gateway) for _ in range(4)]
    slow = clients[:3]
    for _, transport in slow:
        transport.is_full = True
    bus.publish("a", {"text": "x" * 3000})
    await turn()
    gateway._relieve()
    # Three times 6 kB: one too many for 80 % of the pool.
    assert gateway.clients == 3
    shed = slow[2][1]
    assert b"too much is waiting" in shed.waiting
    assert gateway.counters.hits["process.buffer_pool"] == 1
    assert gateway.counters.closes[4008] == 1
    gateway._relieve()
    assert gateway.clients == 3
    for client, _ in clients:
        client.connection_lost(None)
    await gateway.close()


async def test_client_that_does_not_answer_our_close_is_aborted(
    gateway: EventGateway, clock: FakeClock
) -> None:
    socket, transport = enter(gateway)
    socket.close(1001, "going away")
    assert transport.frames() == [Close(1001, "going away")]
    clock.now += CLOSE_TIMEOUT - 1
    socket.on_tick(clock.now)
    assert not transport.is_aborted
    clock.now += 1
    socket.on_tick(clock.now)
    assert transport.is_aborted


async def test_nothing_is_sent_after_our_close_frame(
    gateway: EventGateway, bus: EventBus
) -> None:
    socket, transport = enter(gateway)
    socket.close(1000, "")
    socket.data_received(PING)
    bus.publish("a")
    await turn()
    assert transport.frames() == [Close(1000, "")]


async def test_close_frame_of_a_client_is_read_even_when_it_is_paused(
    gateway: EventGateway, bus: EventBus
) -> None:
    socket, transport = enter(gateway)
    transport.is_full = True
    bus.publish("a")
    await turn()
    socket.close(1001, "going away")
    assert transport.is_reading
    close = Frame(Opcode.CLOSE, struct.pack("!H", 1001)).serialize(mask=True)
    socket.data_received(close)
    assert transport.closing


async def test_end_of_the_client_s_stream_ends_the_connection(
    gateway: EventGateway,
) -> None:
    socket, transport = enter(gateway)
    assert socket.eof_received() is False
    assert transport.closing
    assert gateway.clients == 0


async def test_gateway_that_closes_takes_nobody_new(gateway: EventGateway) -> None:
    gateway._is_closing = True
    _, transport = enter(gateway, "/ws")
    assert transport.frames() == [Close(1001, "going away")]


async def test_each_tick_looks_at_every_client(
    gateway: EventGateway, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("praxis_fast.api.gateway.TICK_SLICE", 2)
    transports = [enter(gateway)[1] for _ in range(5)]
    clock.now += gateway.limits.websocket.ping_interval
    gateway._on_tick()
    await turn()
    assert [transport.frames() for transport in transports] == [["ping"]] * 5
