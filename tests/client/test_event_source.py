"""EventStream over Server-Sent Events, against a real server and odd ones."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from praxis_fast.client import EventStream, Gap, Reset, StreamedEvent
from praxis_fast.client import event_source as module
from praxis_fast.errors import (
    AccessDeniedError,
    NetworkError,
    UsageError,
    WrongServerError,
)
from tests.client.conftest import Place, quick, soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nretry: 1\n\n"


def stream(place: Place, *types: str, **options: Any) -> EventStream:
    options = {"types": types or ("x.*",), "backoff": quick(), **options}
    return EventStream(f"{place.url}/events/stream", **options)


async def event(events: EventStream) -> StreamedEvent:
    item = await soon(anext(events))
    assert isinstance(item, StreamedEvent)
    return item


async def test_a_restart_is_a_reset_and_own_types_go_on(place: Place) -> None:
    place.bus.publish("mine")
    async with stream(place, "mine") as events:
        place.bus.publish("mine")
        assert (await event(events)).seq == 2
        await place.restart(epoch="e2")
        assert await soon(anext(events)) == Reset("epoch", "e1-2")
        place.bus.publish("mine")
        again = await event(events)
    assert (again.epoch, again.seq) == ("e2", 1)


async def test_an_event_that_cannot_be_sent_is_a_gap(place: Place) -> None:
    async with stream(place) as events:
        place.bus.publish("x.y", {"cannot be": object()})
        item = await soon(anext(events))
    assert isinstance(item, Gap)
    assert (item.first, item.last, item.dropped) == (1, 1, 1)
    assert item.reason is not None


async def test_refusals_are_typed(place: Place) -> None:
    with pytest.raises(UsageError, match="unknown event types: nonsense"):
        await stream(place, "nonsense").connect()
    async with stream(place, "x.*", "nonsense") as events:
        with pytest.raises(UsageError, match="no event types nonsense"):
            await soon(anext(events))
    with pytest.raises(WrongServerError, match="404"):
        await EventStream(f"{place.url}/no/events/stream").connect()
    await place.stop()
    await place.start(token="right")
    with pytest.raises(AccessDeniedError, match="401"):
        await stream(place, token="wrong").connect()
    async with stream(place, token="right"):
        pass
    await place.stop()
    with pytest.raises(NetworkError, match="no agent answers at"):
        await stream(place).connect()


def test_options_that_cannot_be_are_refused() -> None:
    url = "http://a/events/stream"
    with pytest.raises(UsageError, match="over websocket only"):
        EventStream(url, snapshot=True)
    with pytest.raises(UsageError, match="printable ascii") as caught:
        EventStream(url, token="a\r\nX-Header: b")
    assert "Header" not in str(caught.value)


# servers that are none of ours


@pytest.fixture
async def answering() -> AsyncIterator[Any]:
    """Serves these bytes, then says nothing or ends."""
    servers = []

    async def start(data: bytes, *, ends: bool = True) -> str:
        async def answer(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(data)
            if not ends:
                await reader.read()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        servers.append(server)
        port = server.sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}/events/stream"

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"SSH-2.0\r\n\r\n", WrongServerError, "does not speak HTTP"),
        (b"", NetworkError, "broke"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", WrongServerError, "no event stream: 200"),
        (b"HTTP/1.1 503 Busy\r\n\r\n", NetworkError, "cannot serve us now: 503 Busy"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", WrongServerError, "302 Found"),
        (STREAM + b"data: x\n\n", WrongServerError, "not answer like an agent"),
        (STREAM + b"data: []\n\n", WrongServerError, "not answer like an agent"),
        (STREAM + b"data: {}", NetworkError, "broke"),
    ],
)
async def test_other_answers_are_typed(
    answering: Any, data: bytes, error: type[Exception], message: str
) -> None:
    events = EventStream(await answering(data), retries=0)
    with pytest.raises(error, match=message):
        await soon(anext(events))
    await events.close()


async def test_a_server_that_falls_silent_is_lost(
    answering: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENCE", 0.05)
    events = EventStream(await answering(STREAM, ends=False), retries=0)
    with pytest.raises(NetworkError, match="fell silent"):
        await soon(anext(events))


async def test_a_frame_that_never_ends_is_a_loss(
    answering: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small(self: Any, more: int) -> None:
        if more > 1000:
            raise module.ProtocolError(f"frame of {more} bytes, limit 1000")

    monkeypatch.setattr(module.SSEParser, "_check", small)
    events = EventStream(await answering(STREAM + b"x" * 2000), retries=0)
    with pytest.raises(NetworkError, match="bytes, limit 1000"):
        await soon(anext(events))
