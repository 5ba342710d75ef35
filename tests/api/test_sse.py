"""Server-Sent Events over real connections, and their framing."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from praxis_fast.api import sse
from praxis_fast.api.sse import sse_pack
from praxis_fast.errors import UsageError
from praxis_fast.events.bus import EventBus
from praxis_fast.limits import EventLimits, JournalLimits, Limits, WebSocketLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from praxis_fast.api.server import HTTPServer
    from tests.api.conftest import FakeAgent


GET: dict[str, Any] = {
    "type": "http",
    "method": "GET",
    "path": "/events/stream",
    "query_string": b"",
    "headers": [],
}


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


class Block:
    """What an EventSource makes of the lines up to an empty one."""

    def __init__(self, lines: list[str]) -> None:
        fields = [line.partition(":")[::2] for line in lines]
        self.fields = {name: value.removeprefix(" ") for name, value in fields}
        data = [value.removeprefix(" ") for name, value in fields if name == "data"]
        self.data: Any = json.loads("\n".join(data)) if data else None

    @property
    def id(self) -> str | None:
        return self.fields.get("id")


class Stream:
    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def block(self) -> Block | None:
        lines: list[str] = []
        async with asyncio.timeout(10):
            while line := await self.answer.content.readline():
                text = line.decode().rstrip("\n")
                if not text:
                    return Block(lines)
                lines.append(text)
        return None

    async def events(self, count: int) -> list[Any]:
        found: list[Any] = []
        while len(found) < count:
            block = await self.block()
            assert block is not None
            if block.data is not None:
                found.append(block.data)
        return found

    async def seqs(self, count: int) -> list[int]:
        return [message["seq"] for message in await self.events(count)]


@pytest.fixture
async def listen(server: HTTPServer) -> AsyncIterator[Callable[..., Any]]:
    """Opens streams; `retry` and the first id are taken off."""
    answers: list[aiohttp.ClientResponse] = []
    async with aiohttp.ClientSession() as session:

        async def open_stream(
            path: str = "/events/stream", *, to: HTTPServer = server, **options: Any
        ) -> Stream:
            answer = await session.get(to.url + path, **options)
            answers.append(answer)
            assert answer.status == 200
            assert answer.content_type == "text/event-stream"
            stream = Stream(answer)
            block = await stream.block()
            assert block is not None
            assert block.fields["retry"] == "2000"
            return stream

        yield open_stream
        for answer in answers:
            answer.close()


async def test_every_visible_event_flows_without_subscribing(
    agent: FakeAgent, listen: Callable[..., Any]
) -> None:
    stream = await listen()
    event = agent.bus.publish("my.type", {"a": 1}, task_id="t1")
    agent.bus.publish("other", required_role="admin")
    agent.bus.publish("last")
    block = await stream.block()
    assert block.id == "e1-1"
    assert block.data == {
        "type": "my.type",
        "payload": {"a": 1},
        "id": event.id,
        "epoch": "e1",
        "seq": 1,
        "timestamp": event.time,
        "correlation_id": None,
        "event": "my.type",
        "task_id": "t1",
        "data": {"a": 1},
        "component": "agent.fake",
        "version": "1.2.3",
    }
    assert (await stream.events(1))[0]["type"] == "last"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("types=task.*", [1, 2]),
        ("types=TASK_STARTED,p2p.peer_connected", [1, 3]),
        ("types=task.failed&types=p2p.*", [2, 3]),
        ("task=t1", [1]),
        ("task_filter=t1,t2", [1, 2]),
        ("peer=p1", [3]),
        ("tag=env:prod", [2]),
        ("tag=env", [1, 2]),
        ("priority=high", [2]),
        ("source=alpha", [3]),
    ],
)
async def test_query_filters_by(
    agent: FakeAgent, listen: Callable[..., Any], query: str, expected: list[int]
) -> None:
    stream = await listen(f"/events/stream?{query}&since=e1-0")
    bus = agent.bus
    bus.publish("task.started", task_id="t1", tags={"env": "test"})
    bus.publish("task.failed", task_id="t2", tags={"env": "prod"})
    bus.publish("p2p.peer_connected", peer_id="p1", source="agent.alpha")
    assert await stream.seqs(len(expected)) == expected
    again = await listen(f"/events/stream?{query}&since=e1-0")
    assert await again.seqs(len(expected)) == expected


async def test_unknown_types_are_told_and_the_others_flow(
    agent: FakeAgent, listen: Callable[..., Any]
) -> None:
    stream = await listen("/events/stream?types=task.started,no.such")
    agent.bus.publish("task.started")
    error, event = await stream.events(2)
    assert error["payload"]["rejected"] == ["no.such"]
    assert event["type"] == "task.started"


@pytest.mark.parametrize(
    "query", ["types=no.such", "priority=urgent", "policy=x", "task=" + "x" * 300]
)
async def test_wrong_query_is_refused(server: HTTPServer, query: str) -> None:
    async with aiohttp.ClientSession() as session:
        answer = await session.get(f"{server.url}/events/stream?{query}")
        assert answer.status == 400
        assert (await answer.json())["error"] == "bad request"


@pytest.mark.parametrize("way", ["header", "query"])
async def test_ws_9_stream_continues_exactly_after_the_last_event_id(
    agent: FakeAgent, listen: Callable[..., Any], way: str
) -> None:
    first = await listen()
    for _ in range(3):
        agent.bus.publish("my.type")
    block = await first.block()
    first.answer.close()
    if way == "header":
        # A browser repeats its first URL; what it saw last is newer than that.
        headers = {"Last-Event-ID": block.id}
        stream = await listen("/events/stream?since=e1-0", headers=headers)
    else:
        stream = await listen(f"/events/stream?since={block.id}")
    agent.bus.publish("my.type")
    assert await stream.seqs(3) == [2, 3, 4]


@pytest.mark.parametrize(
    ("since", "reason"),
    [
        ("e1-0", "evicted"),
        ("e1-99", "future"),
        ("e0-4", "epoch"),
        ("x", "malformed"),
    ],
)
async def test_ws_9_stream_is_reset_when_it_cannot_continue(
    agent: FakeAgent,
    serve: Callable[..., Any],
    listen: Callable[..., Any],
    since: str,
    reason: str,
) -> None:
    server = await serve(limits=Limits(journal=JournalLimits(max_events=2)))
    for _ in range(5):
        agent.bus.publish("my.type")
    stream = await listen(f"/events/stream?since={since}", to=server)
    block = await stream.block()
    assert (block.data["type"], block.data["payload"]["reason"]) == ("reset", reason)
    assert block.id == "e1-5"
    agent.bus.publish("my.type")
    assert await stream.seqs(1) == [6]


async def test_ws_9_long_replay_meets_the_live_stream(
    agent: FakeAgent, listen: Callable[..., Any]
) -> None:
    for n in range(3000):
        agent.bus.publish("my.type", {"text": "x" * 300, "n": n})
    stream = await listen("/events/stream?since=e1-10")
    reading = asyncio.create_task(stream.seqs(3490))
    for _ in range(500):
        agent.bus.publish("my.type")
        await asyncio.sleep(0)
    assert await reading == list(range(11, 3501))


async def test_sse_1_heartbeats_carry_the_newest_id(
    agent: FakeAgent, listen: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT", 0.02)
    stream = await listen("/events/stream?types=task.started")
    agent.bus.publish("my.type")
    block = await stream.block()
    while block.id != "e1-1":
        assert block.fields.keys() == {"", "id"}
        block = await stream.block()
    assert block.data is None
    agent.bus.publish("task.started")
    assert await stream.seqs(1) == [2]


def test_sse_1_line_ends_in_data_are_framed() -> None:
    pack = sse_pack(lambda: "e1")
    assert pack(b'{"a":1}', 7) == b'id: e1-7\ndata: {"a":1}\n\n'
    assert pack(b"{\n1\r\n2\r}", 7) == (
        b"id: e1-7\ndata: {\ndata: 1\ndata: 2\ndata: }\n\n"
    )
    assert pack(b"1\r2", 7) == b"id: e1-7\ndata: 1\ndata: 2\n\n"


def test_sse_1_line_end_in_an_id_is_refused() -> None:
    with pytest.raises(UsageError, match="not printable"):
        sse_pack(lambda: "e\n1")


def test_sse_1_id_has_the_present_epoch() -> None:
    bus = EventBus(epoch="e1")
    pack = sse_pack(lambda: bus.epoch)
    bus.continue_epoch("e2", 0)
    assert pack(b"{}", 7) == b"id: e2-7\ndata: {}\n\n"


async def test_ws_8_gap_is_told_when_the_client_did_not_read(
    agent: FakeAgent, serve: Callable[..., Any], listen: Callable[..., Any]
) -> None:
    limits = Limits(events=EventLimits(max_queued_events=50))
    server = await serve(limits=limits)
    stream = await listen(to=server)
    total = 400
    for _ in range(total):
        agent.bus.publish("my.type", {"text": "x" * 100_000})
        await asyncio.sleep(0)
    got: set[int] = set()
    lost = 0
    while len(got) + lost < total:
        (message,) = await stream.events(1)
        if message["type"] == "gap":
            lost += message["payload"]["dropped"]
        else:
            assert message["seq"] not in got
            got.add(message["seq"])
    assert lost > 0
    assert max(got) == total


async def test_ws_8_slow_client_is_sent_away_when_it_asked_for_that(
    agent: FakeAgent, serve: Callable[..., Any], listen: Callable[..., Any]
) -> None:
    server = await serve(limits=Limits(events=EventLimits(max_queued_events=5)))
    stream = await listen("/events/stream?policy=disconnect", to=server)
    # One that begins while the client is there.
    agent.bus.begin_epoch()
    for _ in range(100):
        agent.bus.publish("my.type")
    messages = []
    while (block := await stream.block()) is not None:
        if block.data is not None:
            messages.append(block)
    last = messages[-1].data
    assert (last["type"], last["payload"]["reason"]) == ("closing", "slow consumer")
    seen = messages[-2].id if len(messages) > 1 else f"{agent.bus.epoch}-0"
    assert last["payload"]["since"] == seen


async def test_ws_10_client_that_is_gone_before_it_is_served_leaves_nothing(
    server: HTTPServer,
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.transport.abort()
    await writer.wait_closed()
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {**GET, "extensions": {sse.EXTENSION: {"transport": writer.transport}}}
    await server.gateway.streams(scope, receive, send)
    assert len(server.gateway.streams) == 0


async def test_ws_8_client_that_never_reads_is_cut(
    agent: FakeAgent, serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "PATIENCE", 0.05)
    server = await serve()
    _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    writer.write(b"GET /events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await eventually(lambda: len(server.gateway.streams) == 1)

    def publish() -> bool:
        agent.bus.publish("my.type", {"text": "x" * 400_000})
        return len(server.gateway.streams) == 0

    await eventually(publish)
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def test_client_that_leaves_is_forgotten(
    server: HTTPServer, listen: Callable[..., Any]
) -> None:
    stream = await listen()
    assert server.gateway.clients == 1
    stream.answer.close()
    await eventually(lambda: server.gateway.clients == 0)
    assert not len(server.gateway.streams._channel.fanout)


async def test_prc_1_close_ends_streams_with_where_to_go_on(
    agent: FakeAgent, serve: Callable[..., Any], listen: Callable[..., Any]
) -> None:
    server = await serve()
    stream = await listen(to=server)
    agent.bus.publish("my.type")
    await server.close()
    event = await stream.block()
    assert event.id == "e1-1"
    last = await stream.block()
    assert last.id is None
    assert last.data == {
        "type": "closing",
        "payload": {"reason": "going away", "since": "e1-1"},
    }
    assert await stream.block() is None


async def test_prc_1_close_during_a_replay_names_no_event_that_was_not_sent(
    agent: FakeAgent, serve: Callable[..., Any], listen: Callable[..., Any]
) -> None:
    server = await serve()
    for _ in range(100):
        agent.bus.publish("my.type", {"text": "x" * 200_000})
    stream = await listen("/events/stream?since=e1-0", to=server)
    closing = asyncio.create_task(server.close())
    seen = "e1-0"
    while (block := await stream.block()) is not None:
        seen = block.id or seen
        last = block.data
    await closing
    assert last == {"type": "closing", "payload": {"reason": "going away"}}
    assert seen != "e1-100"


async def test_streaming_sse_begins_like_the_reference_s(
    agent: FakeAgent, listen: Callable[..., Any]
) -> None:
    stream = await listen("/streaming/sse?task_filter=t1")
    agent.bus.publish("task.started", task_id="t2")
    agent.bus.publish("task.started", task_id="t1")
    welcome, event = await stream.events(2)
    assert welcome["type"] == "connection_established"
    assert welcome["message"] == "Connected to notification stream"
    assert welcome.keys() >= {"connection_id", "timestamp"}
    assert (event["event"], event["task_id"]) == ("task.started", "t1")


async def test_ws_10_streams_count_as_clients(
    serve: Callable[..., Any], listen: Callable[..., Any]
) -> None:
    server = await serve(limits=Limits(websocket=WebSocketLimits(max_clients=1)))
    await listen(to=server)
    async with aiohttp.ClientSession() as session:
        answer = await session.get(f"{server.url}/events/stream")
        assert answer.status == 503


async def test_ws_10_streams_that_begin_at_the_same_time_count_all(
    serve: Callable[..., Any],
) -> None:
    server = await serve(limits=Limits(websocket=WebSocketLimits(max_clients=1)))
    may_go_on, statuses = asyncio.Event(), []

    async def receive() -> dict[str, Any]:
        await may_go_on.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
            await may_go_on.wait()

    streams = server.gateway.streams
    begun = [asyncio.create_task(streams({**GET}, receive, send)) for _ in range(3)]
    await eventually(lambda: len(statuses) == 3)
    assert sorted(statuses) == [200, 503, 503]
    may_go_on.set()
    await asyncio.gather(*begun)
    assert len(streams) == 0


async def test_head_has_the_headers_and_no_stream(server: HTTPServer) -> None:
    async with aiohttp.ClientSession() as session:
        answer = await session.head(f"{server.url}/events/stream")
        assert answer.content_type == "text/event-stream"
        assert await answer.read() == b""
