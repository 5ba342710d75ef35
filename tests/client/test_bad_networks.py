"""EventStream where networks and servers do what they must not."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from praxis_fast.client import Backoff, EventStream, StreamedEvent
from praxis_fast.client import event_source as event_source_module
from praxis_fast.errors import AccessDeniedError, NetworkError, UsageError
from praxis_fast.limits import EventLimits, Limits
from tests.acceptance import server as acceptance
from tests.client.conftest import Place, quick, soon

PATHS = ("/ws", "/events", "/events/stream")


def url_of(base: str, path: str) -> str:
    return base + path if path.endswith("stream") else base.replace("http", "ws") + path


async def numbers(events: EventStream, last: int) -> list[int]:
    """Those of the events up to the last one."""
    found: list[int] = []
    while not found or found[-1] != last:
        item = await soon(anext(events))
        assert isinstance(item, StreamedEvent), item
        found.append(item.payload["n"])
    return found


class CuttingProxy:
    """Breaks each connection after so many bytes of the server's, wherever that is."""

    def __init__(self, port: int, rng: random.Random) -> None:
        self._port = port
        self._random = rng
        self.connections = 0

    async def relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        allowed = self._random.randrange(2_500)
        theirs, to_them = await asyncio.open_connection("127.0.0.1", self._port)
        forth = asyncio.create_task(self._pass_on(reader, to_them))
        while allowed > 0 and (data := await theirs.read(allowed)):
            allowed -= len(data)
            writer.write(data)
        # Half the time what was sent still arrives, half the time the rest is lost.
        if self._random.random() < 0.5:
            writer.transport.abort()
        writer.close()
        to_them.transport.abort()
        forth.cancel()
        await asyncio.wait({forth})

    @staticmethod
    async def _pass_on(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        except ConnectionError:
            pass


@pytest.mark.parametrize("path", PATHS)
async def test_ws_9_a_connection_cut_anywhere_loses_and_repeats_nothing(
    place: Place, path: str, seed: random.Random
) -> None:
    proxy = CuttingProxy(place.port, seed)
    relaying = await asyncio.start_server(proxy.relay, "127.0.0.1", 0)
    port = relaying.sockets[0].getsockname()[1]
    url = url_of(f"http://127.0.0.1:{port}", path)

    async def publish() -> None:
        for number in range(1, 101):
            place.bus.publish("x.y", {"n": number})
            await asyncio.sleep(0.002 * seed.random())

    events = EventStream(
        url, types=["x.*"], since="e1-0", patient=True, backoff=quick(), timeout=5
    )
    publishing = asyncio.create_task(publish())
    assert await numbers(events, 100) == list(range(1, 101))
    await publishing
    await events.close()
    relaying.close()
    assert proxy.connections > 5


@pytest.mark.parametrize("path", PATHS)
async def test_a_server_that_stands_still_is_left_and_come_back_to(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_source_module, "SILENCE", 0.3)
    lost: list[NetworkError] = []
    with acceptance.start({}) as server:
        url = url_of(server.hello["url"], path)
        events = EventStream(
            url,
            types=["sequence.*"],
            heartbeat=0.15,
            timeout=0.3,
            backoff=Backoff(0.01, 0.1),
            on_lost=lost.append,
        )
        async with events:
            server.ask("publish", count=20)
            assert await numbers(events, 20) == list(range(1, 21))
            server._process.send_signal(signal.SIGSTOP)
            waiting = asyncio.create_task(numbers(events, 40))
            async with asyncio.timeout(30):
                while not lost:
                    await asyncio.sleep(0.01)
            server._process.send_signal(signal.SIGCONT)
            server.ask("publish", count=20)
            assert await waiting == list(range(21, 41))


@pytest.mark.parametrize("path", ["/ws", "/events"])
async def test_ws_8_a_slow_reader_sent_away_comes_back_to_where_it_was(
    path: str,
) -> None:
    place = Place()
    few = EventLimits(max_queued_events=16, max_queued_bytes=16 * 1024)
    await place.start(limits=Limits(events=few))
    lost: list[NetworkError] = []
    url = url_of(place.url, f"{path}?policy=disconnect")
    count, text = 3000, "x" * 1000
    async with EventStream(
        url, types=["x.*"], backoff=quick(), on_lost=lost.append
    ) as events:
        for number in range(1, count + 1):
            place.bus.publish("x.y", {"n": number, "text": text})
            if number % 16 == 0:
                await asyncio.sleep(0)
        assert await numbers(events, count) == list(range(1, count + 1))
    assert "4008" in str(lost[0])
    await place.stop()
    await place.bus.close()


async def test_a_reader_that_takes_its_time_stays_connected(place: Place) -> None:
    lost: list[NetworkError] = []
    url = url_of(place.url, "/events")
    async with EventStream(
        url, types=["x.*"], heartbeat=0.1, backoff=quick(), on_lost=lost.append
    ) as events:
        for number in range(1, 401):
            place.bus.publish("x.y", {"n": number, "text": "x" * 1000})
            await asyncio.sleep(0)
        # Answers to heartbeats would wait behind events that it does not read.
        await asyncio.sleep(1.0)
        assert await numbers(events, 400) == list(range(1, 401))
    assert not lost


@pytest.fixture
async def refusing() -> AsyncIterator[Any]:
    """A server that counts how often it is asked, and always says the same."""
    asked: list[bytes] = []

    async def start(answer: bytes) -> tuple[str, list[bytes]]:
        async def handle(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            writer.close()

        servers.append(await asyncio.start_server(handle, "127.0.0.1", 0))
        port = servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}", asked

    servers: list[asyncio.Server] = []
    yield start
    for server in servers:
        server.close()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
async def test_http_5_a_token_that_is_refused_is_not_tried_again(
    refusing: Any, path: str, status: str
) -> None:
    base, asked = await refusing(
        f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
    )
    events = EventStream(url_of(base, path), token="t0ken", patient=True)
    with pytest.raises(AccessDeniedError) as caught:
        await soon(anext(events))
    assert "t0ken" not in str(caught.value)
    assert events.is_closed
    assert await anext(events, None) is None
    assert len(asked) == 1


@pytest.mark.parametrize("path", PATHS)
async def test_a_server_that_is_busy_is_asked_less_and_less(
    refusing: Any, path: str
) -> None:
    base, asked = await refusing(b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n")
    delays: list[float] = []

    def noted(low: float, high: float) -> float:
        delays.append(high)
        return low / 1000

    events = EventStream(
        url_of(base, path), patient=True, retries=6, backoff=Backoff(uniform=noted)
    )
    with pytest.raises(NetworkError, match="429"):
        await soon(anext(events))
    assert len(asked) == 7
    assert delays == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0]


def test_a_position_with_line_ends_is_refused() -> None:
    with pytest.raises(UsageError, match="since must be a position"):
        EventStream("http://a/events/stream", since="e\r\nX-Header: b-1")
