"""Event streams over real sockets on loopback, with the `websockets` client."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import websockets

from praxis_fast.api.deflate import deflated_pack
from praxis_fast.events.types import CATALOGUE
from praxis_fast.limits import EventLimits, Limits, WebSocketLimits
from tests.api.conftest import PEER

if TYPE_CHECKING:
    from collections.abc import Callable

    from praxis_fast.api.server import HTTPServer
    from tests.api.conftest import Client, FakeAgent

Connect = "Callable[..., Any]"


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def ws_url(server: HTTPServer, path: str) -> str:
    return server.url.replace("http", "ws") + path


async def test_welcome_is_the_reference_s_when_connecting(server: HTTPServer) -> None:
    async with websockets.connect(ws_url(server, "/ws"), proxy=None) as client:
        assert await client.recv() == (
            '{"type":"chatMessage","payload":{"content":"Connected to Praxis Agent",'
            '"sender":"system","type":"system"}}'
        )


async def test_message_has_the_contract_s_keys_when_subscribed(
    agent: FakeAgent, connect: Connect
) -> None:
    client = await connect("/ws")
    await client.subscribe("p2p.peer_discovered")
    event = agent.bus.publish("p2p.peer_discovered", {"id": "x"}, correlation_id="c")
    assert await client.receive() == {
        "type": "p2p.peer_discovered",
        "payload": {"id": "x"},
        "id": event.id,
        "epoch": "e1",
        "seq": event.seq,
        "timestamp": event.time,
        "correlation_id": "c",
    }


async def test_events_path_needs_no_subscription_and_adds_keys(
    agent: FakeAgent, connect: Connect
) -> None:
    client = await connect("/events")
    event = agent.bus.publish("my.type", {"a": 1}, task_id="t1")
    message = await client.receive()
    assert (message["type"], message["payload"]) == ("my.type", {"a": 1})
    assert (message["event"], message["data"]) == ("my.type", {"a": 1})
    assert (message["task_id"], message["seq"]) == ("t1", event.seq)
    assert (message["component"], message["version"]) == ("agent.fake", "1.2.3")


@pytest.mark.parametrize("path", ["/ws", "/ws/events"])
async def test_default_types_flow_until_the_first_subscription(
    agent: FakeAgent, connect: Connect, path: str
) -> None:
    client = await connect(path)
    for name in (
        "task.created",
        "task.started",
        "p2p.card_exchange",
        "ws.message_sent",
    ):
        agent.bus.publish(name)
    got = [message["type"] for message in await client.receive_many(2)]
    assert got == ["task.started", "p2p.card_exchange"]
    await client.subscribe("TASK_CREATED")
    for name in ("task.started", "task.created"):
        agent.bus.publish(name)
    assert (await client.receive())["type"] == "task.created"


async def test_every_type_of_the_catalogue_arrives(
    agent: FakeAgent, connect: Connect
) -> None:
    client = await connect("/ws")
    await client.subscribe("*")
    for name in CATALOGUE:
        agent.bus.publish(name)
    messages = await client.receive_many(len(CATALOGUE))
    assert [message["type"] for message in messages] == list(CATALOGUE)


async def test_unsubscribe_stops_what_it_names(
    agent: FakeAgent, connect: Connect
) -> None:
    client = await connect("/ws")
    await client.subscribe("task.started", "task.failed")
    payload = {"event_types": ["task.started"]}
    reply = await client.ask("UNSUBSCRIBE_EVENTS", payload, id="u1")
    assert reply["payload"]["content"] == "Unsubscribed from 1 event types"
    assert reply["correlation_id"] == "u1"
    agent.bus.publish("task.started")
    agent.bus.publish("task.failed")
    assert (await client.receive())["type"] == "task.failed"


async def test_events_before_a_subscription_come_before_its_answer(
    agent: FakeAgent, connect: Connect
) -> None:
    client = await connect("/ws")
    agent.bus.publish("task.started")
    reply = await client.subscribe("log.entry")
    assert reply["type"] == "task.started"
    assert (await client.receive())["type"] == "chatMessage"


async def test_snapshot_sends_the_present_peers_before_newer_events(
    agent: FakeAgent, connect: Connect
) -> None:
    client = await connect("/ws")
    agent.bus.publish("my.type")
    await client.subscribe("p2p.*", snapshot=True)
    agent.bus.publish("p2p.peer_disconnected", {"id": PEER})
    found, connected, gone = await client.receive_many(3)
    assert [found["type"], connected["type"]] == [
        *("p2p.peer_discovered", "p2p.peer_connected"),
    ]
    assert found["payload"]["id"] == connected["payload"]["peer_id"] == PEER
    assert found["payload"]["discovered_at"] == "2025-10-09T08:53:20.125Z"
    assert found["snapshot"] is connected["snapshot"] is True
    assert (found["epoch"], found["seq"], gone["seq"]) == ("e1", 1, 2)
    assert "snapshot" not in gone


async def test_snapshot_holds_only_what_was_asked_for(
    agent: FakeAgent, connect: Connect
) -> None:
    client = await connect("/ws")
    await client.subscribe("agent.connected", snapshot=True)
    message = await client.receive()
    assert (message["type"], message["payload"]["id"]) == ("agent.connected", PEER)
    assert (await client.ask("PING"))["type"] == "PONG"


async def test_ping_and_errors_are_answered(connect: Connect) -> None:
    client = await connect("/ws")
    reply = await client.ask("PING", id="p1")
    assert (reply["type"], reply["correlation_id"]) == ("PONG", "p1")
    await client.socket.send("no json")
    assert (await client.receive())["payload"]["code"] == "WEBSOCKET_ERROR"
    reply = await client.ask("CHAT_MESSAGE", {"content": "hi"})
    assert reply["payload"]["code"] == "UNSUPPORTED"
    await client.socket.send(b"\x00")
    assert (await client.receive())["type"] == "error"


async def test_bus_1_events_that_ask_for_a_role_stay_inside(
    agent: FakeAgent, connect: Connect
) -> None:
    client = await connect("/events")
    agent.bus.publish("my.secret", required_role="user")
    agent.bus.publish("my.secret", tags={"required_role": "admin"})
    agent.bus.publish("my.public", required_role="guest")
    assert (await client.receive())["type"] == "my.public"


async def test_ws_8_gap_is_said_when_an_event_cannot_be_sent(
    agent: FakeAgent, connect: Connect
) -> None:
    client = await connect("/events")
    event = agent.bus.publish("my.type", {"a": object()})
    agent.bus.publish("my.type")
    gap, after = await client.receive_many(2)
    assert gap["type"] == "gap"
    assert gap["payload"]["from"] == gap["payload"]["to"] == event.seq
    assert after["seq"] == event.seq + 1


# fan-out


@pytest.mark.parametrize("clients", [1, 40])
async def test_each_client_gets_exactly_what_it_asked_for(
    agent: FakeAgent, connect: Connect, clients: int
) -> None:
    kinds = ["a.one", "a.two", "b.one"]
    agent.bus.declare(*kinds)
    wanted = [kinds[: 1 + number % 3] for number in range(clients)]
    sockets = [await connect("/ws") for _ in range(clients)]
    for client, names in zip(sockets, wanted, strict=True):
        await client.subscribe(*names)
    published: list[tuple[str, int]] = []
    for number in range(60):
        event = agent.bus.publish(kinds[number * 7 % 3], {"n": number})
        published.append((event.type, event.seq))
        if number % 7 == 0:
            await asyncio.sleep(0)
    agent.bus.publish("a.one", {"last": True})
    for client, names in zip(sockets, wanted, strict=True):
        got: list[tuple[str, int]] = []
        while not (message := await client.receive())["payload"].get("last"):
            got.append((message["type"], message["seq"]))
        assert got == [entry for entry in published if entry[0] in names]


async def test_ws_8_slow_client_gets_its_gap_and_others_never_wait(
    agent: FakeAgent, serve: Callable[..., Any], connect: Connect
) -> None:
    limits = Limits(events=EventLimits(max_queued_events=10, max_queued_bytes=10**6))
    server = await serve(limits=limits)
    quick = await connect("/events", to=server)
    slow = await connect("/events", to=server, max_queue=1)
    slow.socket.transport.pause_reading()
    total = 1500
    text = "x" * 20_000
    got = [0]

    async def read() -> None:
        while got[0] < total:
            got[0] = (await quick.receive())["payload"]["n"]

    reader = asyncio.create_task(read())
    for number in range(1, total + 1):
        agent.bus.publish("my.type", {"n": number, "text": text})
        if number % 5 == 0:
            await eventually(lambda least=number - 5: got[0] >= least)
    await reader
    slow.socket.transport.resume_reading()
    counted = gaps = 0
    expected = 1
    while expected <= total:
        message = await slow.receive()
        if message["type"] == "gap":
            payload = message["payload"]
            assert payload["from"] == expected
            assert payload["dropped"] == payload["to"] - payload["from"] + 1
            assert payload["epoch"] == "e1"
            gaps += payload["dropped"]
            expected = payload["to"] + 1
        else:
            assert message["payload"]["n"] == expected
            counted += 1
            expected += 1
    assert gaps > 0
    assert counted + gaps == total


async def test_ws_8_slow_client_is_closed_with_4008_under_disconnect(
    agent: FakeAgent, serve: Callable[..., Any], connect: Connect
) -> None:
    limits = Limits(events=EventLimits(max_queued_events=10, max_queued_bytes=10**6))
    server = await serve(limits=limits)
    client = await connect("/events?policy=disconnect", to=server, max_queue=1)
    client.socket.transport.pause_reading()
    for _ in range(1500):
        agent.bus.publish("my.type", {"text": "x" * 20_000})
        await asyncio.sleep(0)
    await eventually(lambda: server.gateway.clients == 0)
    client.socket.transport.resume_reading()
    code, reason = await client.close_code()
    assert code == 4008
    assert reason.startswith("slow consumer, last event e1-")


# connections


async def test_ws_10_too_many_clients_are_closed_with_1008(
    agent: FakeAgent, serve: Callable[..., Any], connect: Connect
) -> None:
    server = await serve(limits=Limits(websocket=WebSocketLimits(max_clients=2)))
    first = await connect("/ws", to=server)
    await connect("/events", to=server)
    async with websockets.connect(ws_url(server, "/ws"), proxy=None) as third:
        with pytest.raises(websockets.ConnectionClosedError) as closed:
            await third.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008
    assert closed.value.rcvd.reason == "Maximum connections reached"
    await first.socket.close()
    await eventually(lambda: server.gateway.clients == 1)
    again = await connect("/ws", to=server)
    assert (await again.ask("PING"))["type"] == "PONG"


async def test_clients_that_leave_leave_nothing_behind(
    server: HTTPServer, connect: Connect
) -> None:
    clients = [await connect("/ws") for _ in range(10)]
    assert server.gateway.clients == 10
    for number, client in enumerate(clients):
        if number % 2:
            client.socket.transport.abort()
        else:
            await client.socket.close()
    await eventually(lambda: not server.gateway._sockets)
    assert server.gateway.clients == 0
    assert not server._server.server_state.connections
    assert not len(server.gateway._plain.matcher)
    assert not len(server.gateway._plain.fanout)


@pytest.mark.parametrize("path", ["/ws", "/nowhere"])
async def test_ws_2_foreign_origin_is_refused_with_403(
    server: HTTPServer, path: str
) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(
            ws_url(server, path), proxy=None, origin="http://evil.example"
        )
    assert refused.value.response.status_code == 403
    if path == "/ws":
        body = json.loads(refused.value.response.body)
        assert body["error"] == "forbidden"


async def test_ws_2_own_origin_is_let_in(server: HTTPServer) -> None:
    async with websockets.connect(
        ws_url(server, "/ws"), proxy=None, origin=server.url
    ) as client:
        assert "Connected" in str(await client.recv())


async def test_ws_2_foreign_host_is_refused_with_403(server: HTTPServer) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(
            f"ws://evil.example:{server.port}/ws",
            proxy=None,
            host="127.0.0.1",
        )
    assert refused.value.response.status_code == 403


async def test_http_5_token_is_asked_for_on_websockets(
    serve: Callable[..., Any],
) -> None:
    server = await serve(token="secret")
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(ws_url(server, "/ws"), proxy=None)
    assert refused.value.response.status_code == 401
    url = ws_url(server, "/ws?token=secret")
    async with websockets.connect(url, proxy=None) as client:
        assert "Connected" in str(await client.recv())


async def test_path_that_is_not_ours_goes_to_the_application(
    server: HTTPServer,
) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(ws_url(server, "/nowhere"), proxy=None)
    assert refused.value.response.status_code == 403


async def test_handshake_that_is_none_is_refused(server: HTTPServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x01x", 1002),
        (b"\x81\x81\0\0\0\0\xff", 1007),
        (b"\x81\xff\0\0\0\0\0\x02\0\0\0\0\0\0", 1009),
        (30 * b"\x89\x80\0\0\0\0", 1008),
    ],
)
async def test_ws_1_4_6_violation_closes_that_client_only(
    agent: FakeAgent, connect: Connect, data: bytes, code: int
) -> None:
    other = await connect("/events")
    client = await connect("/ws")
    client.socket.transport.write(data)
    assert (await client.close_code())[0] == code
    agent.bus.publish("my.type")
    assert (await other.receive())["type"] == "my.type"


async def test_aiohttp_client_is_served(agent: FakeAgent, server: HTTPServer) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{server.url}/ws/events") as client,
    ):
        assert (await client.receive_json())["payload"]["sender"] == "system"
        await client.send_json(
            {"type": "SUBSCRIBE_EVENTS", "payload": {"event_types": ["my.*"]}}
        )
        assert (await client.receive_json())["type"] == "chatMessage"
        agent.bus.publish("my.type", {"a": "ä"})
        assert (await client.receive_json())["payload"] == {"a": "ä"}


async def test_silent_client_is_pinged_and_then_closed(
    serve: Callable[..., Any], connect: Connect
) -> None:
    server = await serve(limits=Limits(websocket=WebSocketLimits(ping_interval=0.05)))
    alive = await connect("/ws", to=server)
    reader = asyncio.create_task(alive.close_code())
    raw_reader, writer = await open_raw(server)
    async with asyncio.timeout(10):
        data = await raw_reader.readuntil(b"no answer to heartbeats")
    assert data.count(b"\x89\x00") == 2
    assert not reader.done()
    reader.cancel()
    writer.close()
    await writer.wait_closed()


async def open_raw(
    server: HTTPServer, path: str = "/ws"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A WebSocket whose owner never answers anything; handshake and welcome read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    if path.startswith("/ws"):
        await reader.readuntil(b"}}")
    return reader, writer


async def test_server_that_closes_says_1001_and_leaves_nothing(
    agent: FakeAgent, serve: Callable[..., Any], connect: Connect
) -> None:
    server = await serve()
    clients: list[Client] = [await connect("/ws", to=server) for _ in range(5)]
    _, silent = await open_raw(server)
    readers = [asyncio.create_task(client.close_code()) for client in clients]
    agent.bus.publish("agent.stopping")
    gateway = server.gateway
    await server.close()
    assert await asyncio.gather(*readers) == [(1001, "going away")] * 5
    assert not gateway._sockets
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
    silent.close()
    await server.close()


async def test_ws_9_large_first_page_is_read_before_what_is_published_then(
    agent: FakeAgent, server: HTTPServer, connect: Connect
) -> None:
    # Twice in a message: far more than the kernel takes for a client so small, and
    # written before uvicorn has let go of the connection.
    agent.bus.publish("my.type", {"text": "x" * 500_000})
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.connect(("127.0.0.1", server.port))
    client = await connect("/events?since=e1-0", sock=small)
    for _ in range(20):
        agent.bus.publish("my.type")
        await asyncio.sleep(0)
    assert (await client.receive())["type"] == "resumed"
    assert [told["seq"] for told in await client.receive_many(21)] == [*range(1, 22)]


# compression


async def test_ws_3_compression_is_off_unless_switched_on(
    agent: FakeAgent, connect: Connect
) -> None:
    client = await connect("/events", compression="deflate")
    assert client.socket.protocol.extensions == []


async def test_ws_3_compressed_clients_get_what_the_others_get(
    agent: FakeAgent, serve: Callable[..., Any], connect: Connect
) -> None:
    server = await serve(limits=Limits(websocket=WebSocketLimits(compression=True)))
    clients = [
        await connect("/events", to=server, compression=compression)
        for compression in ("deflate", "deflate", None)
    ]
    for number in range(20):
        agent.bus.publish("my.type", {"number": number, "text": "ab" * 100})
    told = [await client.receive_many(20) for client in clients]
    assert [message["payload"]["number"] for message in told[0]] == list(range(20))
    assert told[0] == told[1] == told[2]
    extensions = [client.socket.protocol.extensions for client in clients]
    assert [len(found) for found in extensions] == [1, 1, 0]


async def test_ws_3_events_are_compressed_once_for_all(
    agent: FakeAgent,
    serve: Callable[..., Any],
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packed: list[bytes] = []

    def count(payload: bytes, seq: int) -> bytes:
        packed.append(payload)
        return deflated_pack(payload, seq)

    monkeypatch.setattr("praxis_fast.api.gateway.deflated_pack", count)
    server = await serve(limits=Limits(websocket=WebSocketLimits(compression=True)))
    clients = [await connect("/events", to=server) for _ in range(5)]
    agent.bus.publish("my.type", {"text": "ab" * 100})
    for client in clients:
        assert (await client.receive())["type"] == "my.type"
    assert len(packed) == 1


async def test_compressed_client_is_understood(
    agent: FakeAgent, serve: Callable[..., Any], connect: Connect
) -> None:
    server = await serve(limits=Limits(websocket=WebSocketLimits(compression=True)))
    client = await connect("/ws", to=server, compression="deflate")
    assert (await client.subscribe("task.started"))["type"] == "chatMessage"
    assert (await client.ask("PING", id="x" * 500))["correlation_id"] == "x" * 500
