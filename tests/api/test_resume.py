"""Clients that come back, and the words and conditions of the WebSocket paths."""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import websockets

from praxis_fast.limits import JournalLimits, Limits, WebSocketLimits

if TYPE_CHECKING:
    from collections.abc import Callable

    from praxis_fast.api.server import HTTPServer
    from tests.api.conftest import Client, FakeAgent

Connect = "Callable[..., Any]"


def seqs(messages: list[dict[str, Any]]) -> list[int]:
    return [message["seq"] for message in messages]


@pytest.mark.parametrize("path", ["/ws", "/ws/events", "/ws/workflow", "/events"])
async def test_ws_9_resume_is_answered_by_the_exact_continuation(
    agent: FakeAgent, connect: Connect, path: str
) -> None:
    for _ in range(4):
        agent.bus.publish("task.started")
        agent.bus.publish("task.started", required_role="admin")
    client: Client = await connect(path)
    resumed = await client.ask("RESUME", {"since": "e1-2"})
    assert resumed == {
        "type": "resumed",
        "payload": {"from": 3, "to": 8, "epoch": "e1"},
    }
    agent.bus.publish("task.started")
    assert seqs(await client.receive_many(4)) == [3, 5, 7, 9]


@pytest.mark.parametrize(
    ("since", "reason"),
    [("e1-1", "evicted"), ("e1-9", "future"), ("e0-4", "epoch"), ("?", "malformed")],
)
@pytest.mark.parametrize("is_query", [True, False])
async def test_ws_9_resume_is_reset_when_there_is_no_continuation(
    agent: FakeAgent,
    serve: Callable[..., Any],
    connect: Connect,
    since: str,
    reason: str,
    is_query: bool,
) -> None:
    server = await serve(limits=Limits(journal=JournalLimits(max_events=2)))
    for _ in range(5):
        agent.bus.publish("task.started")
    if is_query:
        client = await connect(f"/events?since={since}", to=server)
        reset = await client.receive()
    else:
        client = await connect("/events", to=server)
        reset = await client.ask("RESUME", {"since": since})
    assert reset["type"] == "reset"
    told = {"reason": reason, "since": since, "epoch": "e1", "seq": 5}
    assert reset["payload"] == told
    agent.bus.publish("task.started")
    assert (await client.receive())["seq"] == 6


async def test_since_in_the_query_resumes_after_the_welcome(
    agent: FakeAgent, connect: Connect
) -> None:
    for name in ("task.started", "my.type", "task.failed"):
        agent.bus.publish(name)
    client = await connect("/ws?since=e1-0")
    assert (await client.receive())["type"] == "resumed"
    assert seqs(await client.receive_many(2)) == [1, 3]


async def test_ws_9_long_continuation_meets_the_live_stream(
    agent: FakeAgent, server: HTTPServer, connect: Connect
) -> None:
    for _ in range(3000):
        agent.bus.publish("task.started", {"text": "x" * 500})
    client = await connect("/ws?since=e1-0")
    for _ in range(300):
        agent.bus.publish("task.started")
        await asyncio.sleep(0)
    assert (await client.receive())["type"] == "resumed"
    assert seqs(await client.receive_many(3300)) == list(range(1, 3301))
    assert not server.gateway.rejoining._replays


async def test_ws_9_client_slower_than_the_ring_is_told(
    agent: FakeAgent, serve: Callable[..., Any], connect: Connect
) -> None:
    server = await serve(limits=Limits(journal=JournalLimits(max_events=200)))
    for _ in range(200):
        agent.bus.publish("task.started", {"text": "x" * 100_000})
    client = await connect("/ws?since=e1-0", to=server, max_queue=1)
    assert (await client.receive())["type"] == "resumed"
    for _ in range(200):
        agent.bus.publish("task.started")
    record: list[int] = []
    while (message := await client.receive())["type"] != "reset":
        record.append(message["seq"])
    assert record == list(range(1, len(record) + 1))
    assert message["payload"]["reason"] == "evicted"
    assert message["payload"]["seq"] == 400
    agent.bus.publish("task.started")
    # On a slow machine the client is told where it is first.
    while (message := await client.receive())["type"] == "heartbeat":
        pass
    assert message["seq"] == 401


async def test_subscription_during_a_replay_changes_the_rest_of_it(
    agent: FakeAgent, connect: Connect
) -> None:
    for _ in range(400):
        agent.bus.publish("task.started")
        agent.bus.publish("task.failed")
    client = await connect("/ws")
    await client.send("RESUME", {"since": "e1-0"})
    await client.send("SUBSCRIBE_EVENTS", {"event_types": ["task.failed"]})
    assert (await client.receive())["type"] == "resumed"
    agent.bus.publish("task.failed")
    record: list[int] = []
    while not record or record[-1] < 801:
        message = await client.receive()
        if "seq" in message:
            record.append(message["seq"])
    # Both types at first, in order; then only the one asked for.
    assert record == sorted(set(record))
    assert set(record) >= set(range(2, 801, 2))


async def test_resume_without_since_is_an_error(connect: Connect) -> None:
    client = await connect("/ws")
    error = await client.ask("RESUME", {})
    assert (error["type"], error["payload"]["code"]) == ("error", "WEBSOCKET_ERROR")
    assert "since" in error["payload"]["message"]


async def test_conditions_of_a_subscription_all_hold(
    agent: FakeAgent, connect: Connect
) -> None:
    client = await connect("/ws")
    conditions = {"tasks": ["t1"], "tags": {"env": "prod"}, "priority": "high"}
    await client.subscribe("task.*", **conditions)
    bus, tags = agent.bus, {"env": "prod"}
    bus.publish("task.failed", task_id="t2", tags=tags)
    bus.publish("task.failed", task_id="t1")
    bus.publish("task.started", task_id="t1", tags=tags)
    bus.publish("task.failed", task_id="t1", tags=tags)
    assert (await client.receive())["seq"] == 4
    reply = await client.ask("SUBSCRIBE_EVENTS", {"priority": "low"})
    assert reply["payload"]["content"] == "Subscribed to 0 event types"
    bus.publish("task.started", task_id="t1", tags=tags)
    assert (await client.receive())["seq"] == 5
    await client.ask("SUBSCRIBE_EVENTS", {"tasks": None, "tags": None})
    bus.publish("task.started", task_id="t9")
    assert (await client.receive())["seq"] == 6
    await client.ask("SUBSCRIBE_EVENTS", {"tasks": []})
    bus.publish("task.started", task_id="t9")
    assert (await client.ask("PING"))["type"] == "PONG"


@pytest.mark.parametrize("more", [{"priority": "urgent"}, {"tasks": 5}, {"tags": [1]}])
async def test_wrong_condition_is_an_error_and_changes_nothing(
    agent: FakeAgent, connect: Connect, more: dict[str, Any]
) -> None:
    client = await connect("/ws")
    assert (await client.subscribe("log.entry", **more))["type"] == "error"
    agent.bus.publish("task.started")
    assert (await client.receive())["type"] == "task.started"


async def test_query_narrows_a_websocket(agent: FakeAgent, connect: Connect) -> None:
    client = await connect("/ws?types=task.created&task=t1")
    agent.bus.publish("task.created", task_id="t2")
    agent.bus.publish("task.started", task_id="t1")
    agent.bus.publish("task.created", task_id="t1")
    assert (await client.receive())["seq"] == 3


@pytest.mark.parametrize(
    ("query", "fault"),
    [("priority=urgent", "priority 'urgent'"), ("policy=x", "policy 'x'")],
)
async def test_wrong_query_closes_a_websocket(
    server: HTTPServer, query: str, fault: str
) -> None:
    url = server.url.replace("http", "ws") + f"/events?{query}"
    async with websockets.connect(url, proxy=None) as socket:
        await socket.wait_closed()
        assert socket.close_code == 1008
        assert fault in (socket.close_reason or "")


async def test_unknown_types_in_a_query_are_told_and_the_others_flow(
    agent: FakeAgent, connect: Connect
) -> None:
    client = await connect("/ws?types=task.started,no.such")
    agent.bus.publish("task.started")
    error, event = await client.receive_many(2)
    assert (error["type"], error["payload"]["rejected"]) == ("error", ["no.such"])
    assert event["type"] == "task.started"


async def test_streaming_websocket_speaks_the_reference_s_words(
    agent: FakeAgent, connect: Connect
) -> None:
    client = await connect("/streaming/websocket?task_filter=t1,t2")
    welcome = await client.receive()
    assert welcome["type"] == "connection_established"
    assert welcome["message"] == "Connected to notification stream"
    agent.bus.publish("task_message", task_id="t3")
    agent.bus.publish("task_message", {"a": 1}, task_id="t2")
    event = await client.receive()
    assert (event["event"], event["task_id"]) == ("task_message", "t2")
    await client.socket.send('{"type":"ping"}')
    pong = await client.receive()
    assert (pong["type"], pong["timestamp"]) == ("pong", pong["payload"]["timestamp"])
    await client.socket.send('{"type":"subscribe","taskIds":["t3"]}')
    updated = await client.receive()
    assert (updated["type"], updated["taskIds"]) == ("subscription_updated", ["t3"])
    agent.bus.publish("task_message", task_id="t1")
    agent.bus.publish("task_message", task_id="t3")
    assert (await client.receive())["task_id"] == "t3"
    await client.socket.send('{"type":"unsubscribe"}')
    assert (await client.receive())["taskIds"] == []
    agent.bus.publish("task_message", task_id="t1")
    assert (await client.receive())["task_id"] == "t1"
    await client.socket.send('{"type":"subscribe","taskIds":"t3"}')
    assert (await client.receive())["type"] == "error"


async def test_prc_1_close_tells_websockets_where_to_go_on(
    agent: FakeAgent, serve: Callable[..., Any], connect: Connect
) -> None:
    server = await serve()
    client = await connect("/ws", to=server)
    agent.bus.publish("task.started")
    await server.close()
    assert (await client.receive())["seq"] == 1
    assert await client.receive() == {
        "type": "closing",
        "payload": {"reason": "going away", "since": "e1-1"},
    }
    assert (await client.close_code())[0] == 1001


TOTAL = 3000


async def publish_all(agent: FakeAgent, chance: random.Random) -> None:
    for n in range(TOTAL):
        name = chance.choice(["task.started", "task.failed", "other.type"])
        agent.bus.publish(name, {"n": n, "text": "x" * chance.randrange(200)})
        if not n % 7:
            await asyncio.sleep(0)
    agent.bus.publish("task.failed", {"is_last": True})


async def follow_websocket(url: str, chance: random.Random) -> list[int]:
    """Read everything over connections that are cut at random."""
    record: list[int] = []
    token = "e1-0"
    while True:
        target = f"{url}/events?types=task.*&since={token}"
        async with websockets.connect(target, proxy=None) as socket:
            resumed = json.loads(await socket.recv())
            assert resumed["type"] == "resumed"
            for _ in range(chance.randrange(1, 400)):
                message = json.loads(await socket.recv())
                record.append(message["seq"])
                token = f"e1-{message['seq']}"
                if message["payload"].get("is_last"):
                    return record
            socket.transport.abort()


async def follow_sse(url: str, chance: random.Random) -> list[int]:
    record: list[int] = []
    headers = {"Last-Event-ID": "e1-0"}
    target = f"{url}/events/stream?types=task.*"
    async with aiohttp.ClientSession() as session:
        while True:
            count = chance.randrange(1, 400)
            async with session.get(target, headers=headers) as answer:
                async for line in answer.content:
                    if line.startswith(b"id: "):
                        headers["Last-Event-ID"] = line[4:].decode().strip()
                    if not line.startswith(b"data: "):
                        continue
                    message = json.loads(line[6:])
                    record.append(message["seq"])
                    count -= 1
                    if message["payload"].get("is_last"):
                        return record
                    if not count:
                        break


async def test_ws_9_clients_that_reconnect_at_random_miss_and_repeat_nothing(
    agent: FakeAgent, server: HTTPServer, seed: random.Random
) -> None:
    expected: list[int] = []
    agent.bus.add_sink(
        lambda event: (
            expected.append(event.seq) if event.type.startswith("task.") else None
        )
    )
    socket_url = server.url.replace("http", "ws")
    followers = [
        follow(url, random.Random(seed.random()))
        for follow, url in ((follow_websocket, socket_url), (follow_sse, server.url))
        for _ in range(3)
    ]
    async with asyncio.timeout(60):
        *records, _ = await asyncio.gather(*followers, publish_all(agent, seed))
    assert all(record == expected for record in records)


# positions of quiet clients


async def test_ws_9_quiet_client_is_told_its_position_before_it_is_evicted(
    agent: FakeAgent, serve: Callable[..., Any], connect: Connect
) -> None:
    server = await serve(limits=Limits(journal=JournalLimits(max_events=100)))
    client: Client = await connect("/events?types=task.failed", to=server)
    await client.ask("SUBSCRIBE_EVENTS", {"positions": True, "tag": None})
    since = ""
    for _ in range(3):
        agent.bus.publish("task.started")
        agent.bus.publish("task.failed")
        assert (await client.receive())["type"] == "task.failed"
        for _ in range(150):
            agent.bus.publish("task.started")
        told = await client.receive()
        assert told["type"] == "heartbeat"
        since = told["payload"]["since"]
        assert since == f"e1-{agent.bus.seq}"
    await client.socket.close()
    event = agent.bus.publish("task.failed")
    client = await connect(f"/events?types=task.failed&since={since}", to=server)
    assert (await client.receive())["type"] == "resumed"
    assert (await client.receive())["seq"] == event.seq


async def test_ws_9_position_is_told_with_the_heartbeats_only_to_whom_asked(
    agent: FakeAgent, serve: Callable[..., Any], connect: Connect
) -> None:
    server = await serve(limits=Limits(websocket=WebSocketLimits(ping_interval=0.001)))
    asked: Client = await connect("/events?types=task.failed&since=e1-0", to=server)
    assert (await asked.receive())["type"] == "resumed"
    others: list[Client] = [
        await connect("/events?types=task.failed", to=server) for _ in range(2)
    ]
    await others[1].ask("SUBSCRIBE_EVENTS", {"positions": True, "tag": None})
    await others[1].ask("SUBSCRIBE_EVENTS", {"positions": False, "tag": None})
    agent.bus.publish("task.started")
    assert await asked.receive() == {"type": "heartbeat", "payload": {"since": "e1-1"}}
    event = agent.bus.publish("task.failed")
    for other in others:
        assert (await other.receive())["seq"] == event.seq
    assert (await asked.receive())["seq"] == event.seq


async def test_positions_must_be_true_or_false(connect: Connect) -> None:
    client: Client = await connect("/events")
    error = await client.ask("SUBSCRIBE_EVENTS", {"positions": 1})
    assert error["payload"]["message"] == '"positions" must be true or false'


async def test_ws_9_client_that_does_not_read_is_told_no_position(
    agent: FakeAgent, serve: Callable[..., Any], connect: Connect
) -> None:
    server = await serve(limits=Limits(journal=JournalLimits(max_events=100)))
    client: Client = await connect("/events?since=e1-0", to=server, max_queue=1)
    assert (await client.receive())["type"] == "resumed"
    for _ in range(200):
        agent.bus.publish("task.started", {"text": "x" * 100_000})
        await asyncio.sleep(0)
    (socket,) = server.gateway._sockets
    assert server.gateway.position_of(socket) is None
    seen = 0
    while seen < agent.bus.seq:
        message = await client.receive()
        if message["type"] == "heartbeat":
            assert message["payload"]["since"] == f"e1-{seen}"
        elif message["type"] == "gap":
            seen = message["payload"]["to"]
        else:
            seen = message["seq"]


@pytest.mark.parametrize("path", ["/events/stream", "/streaming/sse"])
async def test_ws_9_quiet_sse_client_is_told_its_position_before_it_is_evicted(
    agent: FakeAgent, serve: Callable[..., Any], path: str
) -> None:
    server = await serve(limits=Limits(journal=JournalLimits(max_events=100)))
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{server.url}{path}?types=task.failed") as response,
        asyncio.timeout(20),
    ):
        ids: list[str] = []
        async for line in response.content:
            if line.startswith(b"id: "):
                ids.append(line[4:].strip().decode())
                for _ in range(150):
                    agent.bus.publish("task.started")
            if len(ids) == 4:
                break
    assert ids == ["e1-0", "e1-150", "e1-300", "e1-450"]
