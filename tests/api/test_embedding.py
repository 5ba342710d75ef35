"""The event streams in an application of somebody else's, served by their uvicorn."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import websockets
from starlette.applications import Starlette

from praxis_fast.api.embedding import event_gateway, event_routes
from praxis_fast.client import EventStream, StreamedEvent
from praxis_fast.errors import UsageError
from praxis_fast.events.bus import EventBus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE = 30.0


class Shop:
    """The example, run as its first lines say."""

    def __init__(self, port: int, process: asyncio.subprocess.Process) -> None:
        self.port = port
        self.process = process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def order(self, item: str) -> int:
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"{self.url}/order/{item}")
        return int(answer.json()["seq"])

    async def stop(self) -> str:
        """What it said on stderr."""
        self.process.send_signal(signal.SIGTERM)
        _, said = await self.process.communicate()
        return said.decode()


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "embedded:app", "--port", str(port)),
        *("--app-dir", str(EXAMPLES), "--ws", "praxis_fast.api.ws:Protocol"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE):
        yield Shop(port, process)
        if process.returncode is None:
            await Shop(port, process).stop()


def stream(shop: Shop) -> EventStream:
    return EventStream(shop.url, types=["order.*"], patient=True)


async def test_events_flow_beside_their_websocket_route(shop: Shop) -> None:
    async with stream(shop) as events:
        url = f"ws://127.0.0.1:{shop.port}/echo"
        async with websockets.connect(url, proxy=None) as theirs:
            await theirs.send("hello")
            seq = await shop.order("tea")
            event = await anext(events)
            assert await theirs.recv() == "hello"
    assert isinstance(event, StreamedEvent)
    assert (event.type, event.payload) == ("order.placed", {"item": "tea"})
    assert event.seq == seq


async def test_server_sent_events_flow_as_well(shop: Shop) -> None:
    async with stream(shop):
        pass
    seq = await shop.order("tea")
    async with (
        httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client,
        client.stream(
            "GET",
            f"{shop.url}/events/stream?types=order.*",
            headers={"Last-Event-ID": "another-1"},
        ) as answer,
    ):
        assert answer.headers["content-type"] == "text/event-stream"
        told = []
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                told.append(json.loads(line[6:]))
                if told[-1]["type"] == "reset":
                    again = await shop.order("milk")
                else:
                    break
    assert again == seq + 1
    assert told[-1]["payload"] == {"item": "milk"}


async def test_foreign_pages_get_no_events(shop: Shop) -> None:
    async with stream(shop):
        pass
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(
            f"{shop.url}/events/stream", headers={"Origin": "http://evil.example"}
        )
    assert answer.status_code == 403


async def test_their_server_ends_with_clients_connected(shop: Shop) -> None:
    async with stream(shop) as events:
        said = await shop.stop()
        await events.close()
    assert shop.process.returncode is not None
    assert "Application shutdown complete" in said
    assert "Traceback" not in said


async def test_routes_without_the_lifespan_are_a_clear_error() -> None:
    app = Starlette(routes=event_routes())
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
        with pytest.raises(UsageError, match="lifespan is not event_lifespan"):
            await client.get("/events/stream")


async def test_a_gateway_ends_with_its_context() -> None:
    bus = EventBus()
    async with event_gateway(bus, max_clients=3) as gateway:
        assert gateway.max_clients == 3
        assert gateway.access.visitor.roles == {"guest"}
    await bus.close()
