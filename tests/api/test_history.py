"""Clients that come back after the ring has gone on, or the agent was started anew."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from praxis_fast.client import EventStream, StreamedEvent
from praxis_fast.errors import StoreError
from praxis_fast.events.bus import EventBus
from praxis_fast.events.journal import file as journal_file
from praxis_fast.events.journal.file import RESERVE, JournalFile
from praxis_fast.events.journal.ring import Past
from praxis_fast.limits import EventLimits, JournalFileLimits, JournalLimits, Limits
from tests.api.test_resume import seqs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from praxis_fast.api.server import HTTPServer
    from tests.api.conftest import Client, FakeAgent

    Connect = Callable[..., Any]

LIMITS = Limits(
    journal=JournalLimits(max_events=50),
    events=EventLimits(max_queued_events=10_000, max_queued_bytes=2**26),
)


class Restarts:
    """An agent that is started again and again over one journal."""

    def __init__(self, agent: FakeAgent, serve: Callable[..., Any], path: Path) -> None:
        self.agent = agent
        self.serve = serve
        self.path = path
        self.file: JournalFile | None = None
        self.server: HTTPServer | None = None

    @property
    def bus(self) -> EventBus:
        return self.agent.bus

    async def start(self, limits: Limits = LIMITS, *, port: int = 0) -> HTTPServer:
        self.agent.bus = EventBus(source="agent.fake")
        self.file = JournalFile(self.path, self.agent.bus, limits=limits)
        await self.file.open()
        self.server = await self.serve(limits=limits, journal=self.file, port=port)
        return self.server

    async def stop(self) -> None:
        assert self.server is not None
        assert self.file is not None
        await self.server.close()
        await self.file.close()

    async def freeze(self) -> None:
        """Nothing is written any more."""
        assert self.file is not None
        assert self.file._task is not None
        self.file._task.cancel()
        await asyncio.gather(self.file._task, return_exceptions=True)

    async def crash(self) -> None:
        """The process is gone: nothing is given back."""
        await self.freeze()
        assert self.file is not None
        self.file._is_closing = True
        await self.file._db.close()
        await self.stop()

    def publish(self, count: int, kind: str = "task.started", **fields: Any) -> None:
        for _ in range(count):
            self.bus.publish(kind, {"n": self.bus.seq + 1}, **fields)


@pytest.fixture
async def restarts(
    agent: FakeAgent, serve: Callable[..., Any], tmp_path: Path
) -> AsyncIterator[Restarts]:
    made = Restarts(agent, serve, tmp_path / "journal.db")
    yield made
    if made.file is not None:
        await made.stop()


async def test_ws_9_continuation_goes_from_disk_to_ring_to_live(
    restarts: Restarts, connect: Connect
) -> None:
    server = await restarts.start()
    epoch = restarts.bus.epoch
    restarts.publish(1000)
    client: Client = await connect(f"/ws?since={epoch}-0", to=server)
    for _ in range(300):
        restarts.publish(1)
        await asyncio.sleep(0)
    resumed = await client.receive()
    assert resumed["payload"] == {"from": 1, "to": 1000, "epoch": epoch}
    record = await client.receive_many(1300)
    assert seqs(record) == list(range(1, 1301))
    assert [message["payload"]["n"] for message in record] == seqs(record)
    assert not server.gateway.rejoining._replays
    assert not server.gateway.rejoining._fetches


async def test_ws_9_many_clients_read_the_past_at_once(
    restarts: Restarts, connect: Connect
) -> None:
    server = await restarts.start()
    epoch = restarts.bus.epoch
    restarts.publish(500, "task.started", task_id="a")
    restarts.publish(500, "task.failed", task_id="b")
    clients = [
        await connect(f"/events?since={epoch}-{n * 37}&task={'ab'[n % 2]}", to=server)
        for n in range(20)
    ]
    restarts.publish(5, task_id="a")
    restarts.publish(5, task_id="b")
    for n, client in enumerate(clients):
        mine = (*range(1, 501), *range(1001, 1006))
        if n % 2:
            mine = (*range(501, 1001), *range(1006, 1011))
        expected = [seq for seq in mine if seq > n * 37]
        assert (await client.receive())["type"] == "resumed"
        assert seqs(await client.receive_many(len(expected))) == expected


async def test_bus_4_client_goes_on_after_an_orderly_restart(
    restarts: Restarts, connect: Connect
) -> None:
    server = await restarts.start()
    restarts.publish(100)
    client: Client = await connect("/events", to=server)
    restarts.publish(1)
    last = await client.receive()
    restarts.publish(70)
    await restarts.stop()
    server = await restarts.start()
    assert restarts.bus.epoch == last["epoch"]
    restarts.publish(3)
    client = await connect(f"/events?since={last['epoch']}-{last['seq']}", to=server)
    assert (await client.receive())["type"] == "resumed"
    assert seqs(await client.receive_many(73)) == list(range(102, 175))


async def test_db_1_client_is_told_a_gap_after_a_crash(
    restarts: Restarts, connect: Connect
) -> None:
    server = await restarts.start()
    restarts.publish(100)
    assert restarts.file is not None
    await restarts.file.written(100)
    client: Client = await connect("/events", to=server)
    await restarts.freeze()
    restarts.publish(10)
    last = (await client.receive_many(10))[-1]
    await restarts.crash()
    server = await restarts.start()
    client = await connect(f"/events?since={last['epoch']}-95", to=server)
    assert (await client.receive())["type"] == "resumed"
    assert seqs(await client.receive_many(5)) == [96, 97, 98, 99, 100]
    gap = await client.receive()
    assert gap["type"] == "gap"
    assert (gap["payload"]["from"], gap["payload"]["to"]) == (101, restarts.bus.seq)
    restarts.publish(1)
    assert (await client.receive())["seq"] == restarts.bus.seq > 100 + RESERVE
    # It had seen what is lost; what followed on that may be lost too.
    client = await connect(f"/events?since={last['epoch']}-110", to=server)
    assert (await client.receive())["type"] == "resumed"
    assert (await client.receive())["payload"]["from"] == 111
    assert (await client.receive())["seq"] == restarts.bus.seq


async def test_ws_9_past_on_disk_is_evicted_while_it_is_read(
    restarts: Restarts, connect: Connect
) -> None:
    limits = Limits(
        journal=JournalLimits(max_events=50),
        journal_file=JournalFileLimits(max_events=500),
    )
    server = await restarts.start(limits)
    epoch = restarts.bus.epoch
    for _ in range(400):
        restarts.bus.publish("task.started", {"text": "x" * 20_000})
    client: Client = await connect(f"/ws?since={epoch}-0", to=server, max_queue=1)
    assert (await client.receive())["type"] == "resumed"
    assert (await client.receive())["seq"] == 1
    restarts.publish(2000)
    assert restarts.file is not None
    await restarts.file.written(restarts.bus.seq)
    record = [1]
    while (message := await client.receive())["type"] != "reset":
        record.append(message["seq"])
    assert record == list(range(1, len(record) + 1))
    assert message["payload"]["reason"] == "evicted"
    restarts.publish(1)
    assert (await client.receive())["seq"] == 2401


async def test_ws_9_reset_when_the_disk_cannot_be_read(
    restarts: Restarts, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await restarts.start()
    restarts.publish(200)
    assert restarts.file is not None
    await restarts.file.written(200)

    async def fail(work: object) -> None:
        raise StoreError("no")

    monkeypatch.setattr(restarts.file._db, "read", fail)
    client: Client = await connect(f"/ws?since={restarts.bus.epoch}-0", to=server)
    assert (await client.receive())["type"] == "resumed"
    assert (await client.receive())["payload"]["reason"] == "evicted"
    restarts.publish(1)
    assert (await client.receive())["seq"] == 201


async def test_db_3_journal_that_is_not_written_is_told(
    restarts: Restarts, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "RETRY", 0.001)
    server = await restarts.start()
    file = restarts.file
    assert file is not None
    agent.delivery = SimpleNamespace(journal=file)  # type: ignore[attr-defined]
    restarts.publish(10)
    await file.written(10)

    def fail(work: object) -> None:
        raise StoreError("no space")

    async with aiohttp.ClientSession(server.url) as session:

        async def told() -> tuple[str, str, bool]:
            health = await (await session.get("/health")).json()
            stats = await (await session.get("/stats")).json()
            metrics = await (await session.get("/metrics")).text()
            status = stats["journal"]["file"]["status"]
            is_degraded = "praxis_journal_file_degraded 1.0" in metrics
            return health["status"], status, is_degraded

        assert await told() == ("healthy", "healthy", False)
        with monkeypatch.context() as broken:
            broken.setattr(file._db, "write", fail)
            restarts.publish(1)
            while not file.is_degraded:
                await asyncio.sleep(0)
            assert await told() == ("degraded", "degraded", True)
        await file.written(11)
        assert await told() == ("healthy", "healthy", False)


async def test_bus_1_rights_count_when_the_past_is_read(
    restarts: Restarts, connect: Connect
) -> None:
    server = await restarts.start()
    for n in range(300):
        restarts.publish(1, required_role="admin" if n % 3 else None)
    client: Client = await connect(f"/ws?since={restarts.bus.epoch}-0", to=server)
    assert (await client.receive())["type"] == "resumed"
    assert seqs(await client.receive_many(100)) == list(range(1, 301, 3))


@pytest.mark.parametrize("path", ["/events/stream", "/streaming/sse"])
async def test_sse_1_last_event_id_reaches_into_the_past(
    restarts: Restarts, path: str
) -> None:
    await restarts.start()
    restarts.publish(600)
    await restarts.stop()
    server = await restarts.start()
    epoch = restarts.bus.epoch
    restarts.publish(100)
    headers = {"Last-Event-ID": f"{epoch}-0"}
    record: list[int] = []
    ids: list[str] = []
    async with (
        aiohttp.ClientSession() as session,
        session.get(server.url + path, headers=headers) as response,
        asyncio.timeout(20),
    ):
        async for line in response.content:
            if line.startswith(b"id: "):
                ids.append(line[4:].strip().decode())
            if line.startswith(b"data: ") and b'"seq"' in line:
                record.append(json.loads(line[6:])["seq"])
                if len(record) == 100:
                    restarts.publish(10)
                if len(record) == 710:
                    break
    assert record == list(range(1, 711))
    assert ids == [f"{epoch}-{seq}" for seq in record]


async def test_ws_9_client_that_resumes_again_and_again_is_read_for_once(
    restarts: Restarts, connect: Connect
) -> None:
    server = await restarts.start()
    restarts.publish(500)
    assert restarts.file is not None
    await restarts.file.written(500)
    most = reads = 0
    read = restarts.file.read

    async def count(position: int, max_events: int) -> Past:
        nonlocal most, reads
        reads += 1
        most = max(most, reads)
        try:
            return await read(position, max_events)
        finally:
            reads -= 1

    restarts.file.read = count  # type: ignore[method-assign]
    client: Client = await connect("/ws", to=server)
    for n in range(200):
        since = f"{restarts.bus.epoch}-{n}"
        await client.send("RESUME", {"since": since})
    record: list[int] = []
    while not record or record[-1] < 500:
        message = await client.receive()
        if message["type"] == "resumed":
            expected = list(range(message["payload"]["from"], 501))
            record.clear()
        else:
            record.append(message["seq"])
    assert record == expected == list(range(200, 501))
    assert most == 1


async def test_client_leaves_while_its_page_is_fetched(
    restarts: Restarts, connect: Connect
) -> None:
    server = await restarts.start()
    restarts.publish(5000)
    for _ in range(10):
        client: Client = await connect(f"/ws?since={restarts.bus.epoch}-0", to=server)
        client.socket.transport.abort()
    async with asyncio.timeout(10):
        while server.gateway.clients or server.gateway.rejoining._fetches:
            await asyncio.sleep(0.001)
    assert not server.gateway.rejoining._replays


async def test_bus_4_client_of_ours_does_not_notice_a_restart(
    restarts: Restarts,
) -> None:
    server = await restarts.start()
    port = server.port
    restarts.publish(3)
    async with EventStream(server.url, types=["task.started"]) as stream:
        restarts.publish(100)
        record = [(await anext(stream)).seq for _ in range(50)]
        await restarts.stop()
        await restarts.start(port=port)
        restarts.publish(100)
        async with asyncio.timeout(20):
            while len(record) < 200:
                item = await anext(stream)
                assert isinstance(item, StreamedEvent), item
                record.append(item.seq)
    assert record == list(range(4, 204))
